"""What becomes of packets, over IPv4 and IPv6.

Every packet that is rejected was let through before, and is let through afterwards.
"""

import pytest

from tests.plugins.firewall import machine as at
from tests.plugins.firewall.filters import change, nft, up
from tests.plugins.firewall.machine import Machine
from tests.plugins.firewall.namespaces import ip

VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])

ACCEPTING = """\
*filter
:INPUT ACCEPT
:FORWARD DROP
:DOCKER-USER - [0:0]
-A INPUT -j ACCEPT
-A DOCKER-USER -j ACCEPT
-A FORWARD -j DOCKER-USER
COMMIT
"""
"""Rules of others that let everything through before anybody else is asked."""

ACCEPTING_CHAINS = """
table inet stranger {{
    chain forward {{ type filter hook forward priority {0}; policy accept; accept; }}
    chain input {{ type filter hook input priority {0}; policy accept; accept; }}
}}
"""


def accept_everything(stranger: str) -> None:
    """Have somebody else do so: `iptables` of either kind, or `nft` in chains that are asked before or after ours."""
    if stranger in ("iptables-nft", "iptables-legacy"):
        change(ACCEPTING, stranger)
        change(ACCEPTING, stranger.replace("ip", "ip6", 1))
    else:
        nft(ACCEPTING_CHAINS.format(stranger))


@VERSIONS
@pytest.mark.parametrize("name", ["HOST", "OTHER_HOST", "PRIVATE", "METADATA", "SECOND"])
async def test_what_is_private_is_rejected(name: str, version: int, machine: Machine) -> None:
    address = getattr(at, name)[version]
    target = {"HOST": machine.host, "OTHER_HOST": machine.host, "SECOND": machine.second}.get(name, machine.outside)
    attempts = (machine.connects, machine.sends)

    before = [attempt(machine.first, address, target) for attempt in attempts]
    async with up():
        during = [attempt(machine.first, address, target) for attempt in attempts]
    after = [attempt(machine.first, address, target) for attempt in attempts]

    assert before == ["reached", "reached"]
    assert during == ["rejected", "rejected"]
    assert after == ["reached", "reached"]


@VERSIONS
@pytest.mark.parametrize("stranger", ["iptables-nft", "iptables-legacy", "-300", "300"])
@pytest.mark.parametrize("name", ["HOST", "PRIVATE", "SECOND"])
@pytest.mark.parametrize("first", [True, False], ids=["there before", "there after"])
async def test_what_others_let_through_is_rejected_all_the_same(
    *, first: bool, name: str, stranger: str, version: int, machine: Machine
) -> None:
    target = {"HOST": machine.host, "PRIVATE": machine.outside, "SECOND": machine.second}[name]
    way = (machine.first, getattr(at, name)[version], target)
    if first:
        accept_everything(stranger)

    before = machine.goes(*way)
    async with up():
        if not first:
            accept_everything(stranger)
        during = machine.goes(*way)
    after = machine.goes(*way)

    assert (before, during, after) == ("reached", "rejected", "reached")


@VERSIONS
async def test_what_others_drop_is_not_opened_and_what_is_rejected_is_answered_before(
    version: int, machine: Machine
) -> None:
    nft("table inet stranger { chain forward { type filter hook forward priority 0; policy drop; }; }")
    private = f"[{at.PRIVATE[version]}]" if version == 6 else at.PRIVATE[version]

    async with up(allow=(f"{private}:{at.PORT}",)):
        rejected = machine.sends(machine.first, at.METADATA[version], machine.outside)
        machine.patience = 0.1  # of what is dropped nothing is heard
        lost = {machine.sends(machine.first, each[version], machine.outside) for each in (at.PUBLIC, at.PRIVATE)}

    assert (rejected, lost) == ("rejected", {"lost"})


@VERSIONS
@pytest.mark.parametrize("internet", [True, False])
async def test_the_internet_is_open_or_not(*, internet: bool, version: int, machine: Machine) -> None:
    before = machine.goes(machine.first, at.PUBLIC[version], machine.outside)

    async with up(internet=internet):
        during = machine.goes(machine.first, at.PUBLIC[version], machine.outside)

    assert (before, during) == ("reached", "reached" if internet else "rejected")


@VERSIONS
async def test_a_public_address_can_be_denied(version: int, machine: Machine) -> None:
    before = machine.goes(machine.first, at.PUBLIC[version], machine.outside)

    async with up(deny=(f"[{at.PUBLIC[version]}]:443" if version == 6 else f"{at.PUBLIC[version]}:443",)):
        other_port = machine.goes(machine.first, at.PUBLIC[version], machine.outside)
        denied = machine.goes(machine.first, at.PUBLIC[version], machine.outside, 443)

    assert (before, other_port, denied) == ("reached", "reached", "rejected")


async def test_a_private_address_behind_a_translator_is_rejected(machine: Machine) -> None:
    before = machine.goes(machine.first, at.TRANSLATED, machine.outside)

    async with up():
        during = machine.goes(machine.first, at.TRANSLATED, machine.outside)

    assert (before, during) == ("reached", "rejected")


async def test_a_public_address_behind_a_translator_is_reached(machine: Machine) -> None:
    async with up():
        during = machine.goes(machine.first, at.TRANSLATED_PUBLIC, machine.outside)

    assert during == "reached"


@VERSIONS
@pytest.mark.parametrize("internet", [True, False])
async def test_what_is_allowed_is_reached_and_nothing_beside(*, internet: bool, version: int, machine: Machine) -> None:
    private = f"[{at.PRIVATE[version]}]" if version == 6 else at.PRIVATE[version]

    async with up(allow=(f"{private}:{at.PORT}/tcp",), internet=internet):
        allowed = machine.connects(machine.first, at.PRIVATE[version], machine.outside)
        other_port = machine.goes(machine.first, at.PRIVATE[version], machine.outside, at.PORT + 1)
        other_protocol = machine.sends(machine.first, at.PRIVATE[version], machine.outside)

    assert (allowed, other_port, other_protocol) == ("reached", "rejected", "rejected")


@VERSIONS
async def test_of_an_allowed_network_some_ports_can_be_meant(version: int, machine: Machine) -> None:
    network = "10.77.0.0/16" if version == 4 else "[fd77::/64]"

    async with up(allow=(f"{network}:{at.PORT}-{at.PORT + 1}",)):
        fates = [
            attempt(machine.first, at.PRIVATE[version], machine.outside, at.PORT + 1)
            for attempt in (machine.connects, machine.sends)
        ]
        other_port = machine.goes(machine.first, at.PRIVATE[version], machine.outside, at.PORT + 2)

    assert (fates, other_port) == (["reached", "reached"], "rejected")


@VERSIONS
async def test_an_allowed_network_is_neither_the_machine_nor_another_container(version: int, machine: Machine) -> None:
    everything = "0.0.0.0/0" if version == 4 else "::/0"
    before = machine.goes(machine.first, at.SECOND[version], machine.second)

    async with up(allow=(everything,)):
        private = machine.goes(machine.first, at.PRIVATE[version], machine.outside)
        host = machine.goes(machine.first, at.OTHER_HOST[version], machine.host)
        neighbour = machine.goes(machine.first, at.SECOND[version], machine.second)

    assert (before, private, host, neighbour) == ("reached", "reached", "rejected", "rejected")


@VERSIONS
async def test_an_address_of_the_machine_can_be_allowed(version: int, machine: Machine) -> None:
    async with up(allow=(at.OTHER_HOST[version],)):
        allowed = machine.goes(machine.first, at.OTHER_HOST[version], machine.host)
        other = machine.goes(machine.first, at.HOST[version], machine.host)

    assert (allowed, other) == ("reached", "rejected")


@VERSIONS
async def test_the_invoker_is_answered(version: int, machine: Machine) -> None:
    async with up(internet=False):
        answered = machine.asks(at.FIRST[version])
        other_way = machine.goes(machine.first, at.HOST[version], machine.host)

    assert (answered, other_way) == (True, "rejected")


@VERSIONS
async def test_who_is_behind_no_bridge_of_ours_reaches_what_there_is(version: int, machine: Machine) -> None:
    async with up(internet=False):
        from_outside = machine.goes(machine.outside, at.FIRST[version], machine.first)
        to_machine = machine.goes(machine.outside, at.HOST[version], machine.host)

    assert (from_outside, to_machine) == ("reached", "reached")


@VERSIONS
async def test_name_servers_are_reached_at_their_port(version: int, machine: Machine) -> None:
    async with up(resolvers=(at.PRIVATE[version], at.OTHER_HOST[version]), internet=False):
        names = [
            attempt(machine.first, address, target, 53)
            for attempt in (machine.connects, machine.sends)
            for address, target in (
                (at.PRIVATE[version], machine.outside),
                (at.OTHER_HOST[version], machine.host),
            )
        ]
        other_port = machine.sends(machine.first, at.PRIVATE[version], machine.outside, 54)
        gateway = machine.sends(machine.first, at.HOST[version], machine.host, 53)

    assert names == ["reached"] * 4
    assert (other_port, gateway) == ("rejected", "rejected")


@VERSIONS
async def test_the_gateway_may_be_the_name_server(version: int, machine: Machine) -> None:
    async with up(resolvers=("gateway",), internet=False):
        gateway = machine.sends(machine.first, at.HOST[version], machine.host, 53)
        over_tcp = machine.connects(machine.first, at.HOST[version], machine.host, 53)
        other_address = machine.sends(machine.first, at.OTHER_HOST[version], machine.host, 53)

    assert (gateway, over_tcp, other_address) == ("reached", "reached", "rejected")


@pytest.mark.parametrize("docker", [True, False], ids=["Docker", "no Docker"])
async def test_where_there_is_no_docker_the_gateway_is_taken_for_a_name_server(
    *, docker: bool, machine: Machine
) -> None:
    if docker:
        ip("link add docker0 type bridge")

    async with up(resolvers=None, internet=False):
        fates = {machine.sends(machine.first, at.HOST[version], machine.host, 53) for version in (4, 6)}

    assert fates == {"rejected" if docker else "reached"}


async def test_what_the_machine_redirects_is_judged_by_where_it_goes(machine: Machine) -> None:
    redirect(at.PUBLIC[4], at.PRIVATE[4])
    before = machine.sends(machine.first, at.PUBLIC[4], machine.outside, bound=at.PRIVATE[4])

    async with up():
        during = machine.sends(machine.first, at.PUBLIC[4], machine.outside, bound=at.PRIVATE[4])

    assert (before, during) == ("reached", "rejected")


async def test_an_allowed_address_may_be_redirected_as_a_service_of_a_cluster(machine: Machine) -> None:
    redirect("10.96.0.1", at.PRIVATE[4])

    async with up(allow=(f"10.96.0.1:{at.PORT}/udp",)):
        service = machine.sends(machine.first, "10.96.0.1", machine.outside, bound=at.PRIVATE[4])
        directly = machine.sends(machine.first, at.PRIVATE[4], machine.outside)

    assert (service, directly) == ("reached", "rejected")


@VERSIONS
async def test_a_conversation_begun_while_the_rules_were_away_ends(version: int, machine: Machine) -> None:
    with machine.conversing(machine.first, at.PRIVATE[version], machine.outside) as say:
        before = [say(), say()]
        async with up():
            during = say()

    assert (before, during) == (["reached", "reached"], "rejected")


async def test_a_bridge_may_come_after_the_rules(machine: Machine) -> None:
    ip(f"link set {at.BRIDGE} down")
    ip(f"link set {at.BRIDGE} name early0")
    async with up():
        ip(f"link set early0 name {at.BRIDGE}")
        ip(f"link set {at.BRIDGE} up")
        fate = machine.connects(machine.first, at.HOST[4], machine.host)

    assert fate == "rejected"


async def test_what_is_rejected_is_counted(machine: Machine) -> None:
    async with up() as runtime:
        (before,) = runtime.metrics()
        fates = [machine.sends(machine.first, at.PRIVATE[version], machine.outside) for version in (4, 6)]
        (unchanged,) = runtime.metrics()
        await runtime.look()
        (after,) = runtime.metrics()

    assert fates == ["rejected", "rejected"]
    assert unchanged == before  # to ask costs nothing
    assert (after.name, after.type) == ("firewall_rejected_packets", "counter")
    assert after.samples[0][1] - before.samples[0][1] >= 2  # IPv6 says more than it is asked to


def redirect(address: str, to: str) -> None:
    """Have packets for an address go to another one."""
    rule = f"ip daddr {address} dnat to {to}"
    nft(f"table ip redirecting {{ chain prerouting {{ type nat hook prerouting priority -100; {rule}; }}; }}")
