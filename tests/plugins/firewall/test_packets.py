"""What becomes of packets, with both kinds of tables, with and without Docker, over IPv4 and IPv6.

Every packet that is rejected was let through before, and is let through afterwards.
"""

import pytest

from tests.plugins.firewall import machine as at
from tests.plugins.firewall.filters import edit, packets_dropped, redirect, up
from tests.plugins.firewall.machine import Machine

pytestmark = [
    pytest.mark.usefixtures("forwarded"),
    pytest.mark.parametrize(("kind", "forwarded"), [("nft", "DOCKER-USER"), ("legacy", "FORWARD")], indirect=True),
]

VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


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


async def test_where_there_is_no_docker_the_gateway_is_taken_for_a_name_server(
    forwarded: str, machine: Machine
) -> None:
    async with up(resolvers=None, internet=False):
        fates = {machine.sends(machine.first, at.HOST[version], machine.host, 53) for version in (4, 6)}

    assert fates == {"rejected" if forwarded == "DOCKER-USER" else "reached"}


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


@VERSIONS
async def test_what_another_rule_lets_through_before_ours_is_dropped(
    version: int, forwarded: str, machine: Machine
) -> None:
    program = "iptables" if version == 4 else "ip6tables"
    private = (machine.first, at.PRIVATE[version], machine.outside)
    own = (machine.first, at.HOST[version], machine.host)

    async with up():
        rejected = [machine.sends(*private), machine.sends(*own)]
        for chain in (forwarded, "INPUT"):
            edit("-I", chain, "1", "-j", "ACCEPT", program=program)
        machine.patience = 0.1  # nothing comes, for the packets are counted where they were dropped
        lost = [machine.sends(*private), machine.sends(*own)]
        dropped = packets_dropped(program)

    assert rejected == ["rejected", "rejected"]
    assert lost == ["lost", "lost"]
    assert dropped >= 2  # IPv6 says more than it is asked to
