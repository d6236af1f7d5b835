"""Which rules come of which wishes, and which table is whose."""

import ipaddress

import pytest

from invoker.entities.node import Node
from invoker_firewall.ruleset import CLOSED, ruleset
from invoker_firewall.settings import FirewallSettings
from invoker_firewall.table import Table

WISHES = FirewallSettings(
    allow=("10.1.2.3:5432/tcp", "10.1.2.4", "10.2.0.0/16", "10.3.0.0/16:8000-8080", "[fd00::5]:443/tcp", "fd00:1::/64"),
    deny=("8.8.4.4:53/udp", "2620:fe::/48"),
)
RESOLVERS = (ipaddress.ip_address("10.0.0.53"), ipaddress.ip_address("fd00::53"))
OF_OTHERS = [
    'iifname != { "invoker0", "invoker1" } accept',
    "ct direction reply ct state established accept",
    "meta l4proto { icmp, icmpv6 } ct state related accept",
]


def test_what_is_forwarded() -> None:
    made = ruleset(WISHES, ["invoker0", "invoker1"], RESOLVERS, gateway=False)

    *first, closed, closed_6, beyond = made["forward"]
    assert first == [
        *OF_OTHERS,
        'oifname { "invoker0", "invoker1" } goto refuse',
        "jump asked",
        "ip daddr 10.2.0.0/16 accept",
        "meta l4proto tcp ip daddr 10.3.0.0/16 th dport 8000-8080 accept",
        "meta l4proto udp ip daddr 10.3.0.0/16 th dport 8000-8080 accept",
        "ip6 daddr fd00:1::/64 accept",
        "meta l4proto udp ip daddr 8.8.4.4/32 th dport 53 goto refuse",
        "ip6 daddr 2620:fe::/48 goto refuse",
    ]
    assert closed == f"ip daddr {{ {', '.join(map(str, CLOSED))} }} goto refuse"
    assert closed_6.startswith("ip6 daddr { 64:ff9b::/104, 64:ff9b::a00:0/104, 64:ff9b::6440:0/106, ")
    assert closed_6.endswith(", 64:ff9b::f000:0/100, 2001::/32, 2002::/16, 2001:db8::/32, 3fff::/20 } goto refuse")
    assert beyond == "ip6 daddr != { 64:ff9b::/96, 2000::/3 } goto refuse"


def test_what_comes_in() -> None:
    made = ruleset(WISHES, ["invoker0", "invoker1"], RESOLVERS, gateway=True)

    assert made["input"] == [
        *OF_OTHERS,
        "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
        "fib daddr . iif type local meta l4proto { tcp, udp } th dport 53 accept",
        "jump asked",
        "goto refuse",
    ]
    assert made["asked"] == [
        "meta l4proto udp ct original ip daddr 10.0.0.53 ct original proto-dst 53 accept",
        "meta l4proto tcp ct original ip daddr 10.0.0.53 ct original proto-dst 53 accept",
        "meta l4proto udp ct original ip6 daddr fd00::53 ct original proto-dst 53 accept",
        "meta l4proto tcp ct original ip6 daddr fd00::53 ct original proto-dst 53 accept",
        "meta l4proto tcp ct original ip daddr 10.1.2.3 ct original proto-dst 5432 accept",
        "ct original ip daddr 10.1.2.4 accept",
        "meta l4proto tcp ct original ip6 daddr fd00::5 ct original proto-dst 443 accept",
    ]


def test_without_the_internet_nothing_but_the_exceptions_passes() -> None:
    made = ruleset(FirewallSettings(internet=False, allow=("10.2.0.0/16",)), ["invoker0"], (), gateway=False)

    assert made["forward"][-2:] == ["ip daddr 10.2.0.0/16 accept", "goto refuse"]


@pytest.mark.usefixtures("machine")
async def test_the_kernel_takes_all_of_it() -> None:
    await Table(Node(id=0, memory=0)).check(ruleset(WISHES, ["invoker0", "invoker1"], RESOLVERS, gateway=True))


def test_every_address_that_python_knows_to_be_private_is_closed() -> None:
    """Its list comes from IANA's registry, as ours does; the deprecated relays of 6to4 lead nowhere."""
    named = ("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.0.1", "172.31.255.255", "192.0.0.170")
    more = ("192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255")

    for address in map(ipaddress.IPv4Address, (*named, *more)):
        assert not address.is_global
        assert any(address in network for network in CLOSED), address


def test_names_are_the_identitys() -> None:
    name = Table(Node(id=3, memory=0, unique_name="node-b")).name
    same = Table(Node(id=3, memory=99, unique_name="node-b", displayed_name="rack 7")).name
    others = [Table(Node(id=4, memory=0, unique_name="node-b")).name, Table(Node(id=3, memory=0)).name]

    assert name == same == "inet invoker_13631db1"
    assert name not in others


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("name", ['x" }; delete table inet invoker_1 \\', "a\n# handle 5", "é" * 300])
async def test_no_identity_can_do_harm(name: str) -> None:
    wanted = ruleset(WISHES, ["invoker0"], (), gateway=False)
    table = Table(Node(id=0, memory=0, unique_name=name, displayed_name=name))

    assert await table.keep(wanted) == ""
    assert await table.keep(wanted) == ""
