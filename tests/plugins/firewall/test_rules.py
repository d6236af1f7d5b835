"""Which rules come of which wishes, word for word."""

import ipaddress

import pytest

from invoker_firewall.destination import Destination
from invoker_firewall.rules import CLOSED, Family, Line, Policy, rules

REPLIES = ("-m conntrack --ctstate ESTABLISHED --ctdir REPLY -j RETURN",)
RELATED_4 = ("-p icmp -m conntrack --ctstate RELATED -j RETURN",)
RELATED_6 = ("-p ipv6-icmp -m conntrack --ctstate RELATED -j RETURN",)
REJECT_4 = "-j REJECT --reject-with icmp-admin-prohibited"
REJECT_6 = "-j REJECT --reject-with icmp6-adm-prohibited"
POLICY = Policy(
    allowed=tuple(
        map(Destination.parse, ("10.1.2.3:5432/tcp", "10.2.0.0/16", "10.3.0.0/16:8000-8080", "[fd00::5]:443/tcp"))
    ),
    denied=tuple(map(Destination.parse, ("8.8.4.4:53/udp", "2620:fe::/48"))),
    resolvers=(ipaddress.ip_address("10.0.0.53"), ipaddress.ip_address("fd00::53")),
)


def test_the_first_line_for_ipv4() -> None:
    made = rules(POLICY, Family.IPV4, Line.FIRST, ["invoker0", "invoker1"])

    assert made.forwarded == (
        *REPLIES,
        *RELATED_4,
        f"-o invoker0 {REJECT_4}",
        f"-o invoker1 {REJECT_4}",
        "-p udp -m conntrack --ctorigdst 10.0.0.53 --ctorigdstport 53 -j RETURN",
        "-p tcp -m conntrack --ctorigdst 10.0.0.53 --ctorigdstport 53 -j RETURN",
        "-p tcp -m conntrack --ctorigdst 10.1.2.3 --ctorigdstport 5432 -j RETURN",
        "-d 10.2.0.0/16 -j RETURN",
        "-d 10.3.0.0/16 -p tcp -m tcp --dport 8000:8080 -j RETURN",
        "-d 10.3.0.0/16 -p udp -m udp --dport 8000:8080 -j RETURN",
        f"-d 8.8.4.4/32 -p udp -m udp --dport 53 {REJECT_4}",
        f"-d 0.0.0.0/8 {REJECT_4}",
        f"-d 10.0.0.0/8 {REJECT_4}",
        f"-d 100.64.0.0/10 {REJECT_4}",
        f"-d 127.0.0.0/8 {REJECT_4}",
        f"-d 168.63.129.16/32 {REJECT_4}",
        f"-d 169.254.0.0/16 {REJECT_4}",
        f"-d 172.16.0.0/12 {REJECT_4}",
        f"-d 192.0.0.0/24 {REJECT_4}",
        f"-d 192.0.2.0/24 {REJECT_4}",
        f"-d 192.168.0.0/16 {REJECT_4}",
        f"-d 198.18.0.0/15 {REJECT_4}",
        f"-d 198.51.100.0/24 {REJECT_4}",
        f"-d 203.0.113.0/24 {REJECT_4}",
        f"-d 224.0.0.0/4 {REJECT_4}",
        f"-d 240.0.0.0/4 {REJECT_4}",
    )
    assert made.incoming == (
        *REPLIES,
        *RELATED_4,
        "-p udp -m conntrack --ctorigdst 10.0.0.53 --ctorigdstport 53 -j RETURN",
        "-p tcp -m conntrack --ctorigdst 10.0.0.53 --ctorigdstport 53 -j RETURN",
        "-p tcp -m conntrack --ctorigdst 10.1.2.3 --ctorigdstport 5432 -j RETURN",
        REJECT_4,
    )


def test_the_first_line_for_ipv6() -> None:
    made = rules(POLICY, Family.IPV6, Line.FIRST, ["invoker0"])

    assert made.forwarded == (
        *REPLIES,
        *RELATED_6,
        f"-o invoker0 {REJECT_6}",
        "-p udp -m conntrack --ctorigdst fd00::53 --ctorigdstport 53 -j RETURN",
        "-p tcp -m conntrack --ctorigdst fd00::53 --ctorigdstport 53 -j RETURN",
        "-p tcp -m conntrack --ctorigdst fd00::5 --ctorigdstport 443 -j RETURN",
        f"-d 2620:fe::/48 {REJECT_6}",
        f"-d 64:ff9b::/104 {REJECT_6}",
        f"-d 64:ff9b::a00:0/104 {REJECT_6}",
        f"-d 64:ff9b::6440:0/106 {REJECT_6}",
        f"-d 64:ff9b::7f00:0/104 {REJECT_6}",
        f"-d 64:ff9b::a83f:8110/128 {REJECT_6}",
        f"-d 64:ff9b::a9fe:0/112 {REJECT_6}",
        f"-d 64:ff9b::ac10:0/108 {REJECT_6}",
        f"-d 64:ff9b::c000:0/120 {REJECT_6}",
        f"-d 64:ff9b::c000:200/120 {REJECT_6}",
        f"-d 64:ff9b::c0a8:0/112 {REJECT_6}",
        f"-d 64:ff9b::c612:0/111 {REJECT_6}",
        f"-d 64:ff9b::c633:6400/120 {REJECT_6}",
        f"-d 64:ff9b::cb00:7100/120 {REJECT_6}",
        f"-d 64:ff9b::e000:0/100 {REJECT_6}",
        f"-d 64:ff9b::f000:0/100 {REJECT_6}",
        "-d 64:ff9b::/96 -j RETURN",
        f"! -d 2000::/3 {REJECT_6}",
        f"-d 2001::/32 {REJECT_6}",
        f"-d 2002::/16 {REJECT_6}",
        f"-d 2001:db8::/32 {REJECT_6}",
        f"-d 3fff::/20 {REJECT_6}",
    )
    assert made.incoming == (
        *REPLIES,
        *RELATED_6,
        "-p ipv6-icmp -m icmp6 --icmpv6-type 133 -j RETURN",
        "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j RETURN",
        "-p ipv6-icmp -m icmp6 --icmpv6-type 136 -j RETURN",
        "-p udp -m conntrack --ctorigdst fd00::53 --ctorigdstport 53 -j RETURN",
        "-p tcp -m conntrack --ctorigdst fd00::53 --ctorigdstport 53 -j RETURN",
        "-p tcp -m conntrack --ctorigdst fd00::5 --ctorigdstport 443 -j RETURN",
        REJECT_6,
    )


def test_without_the_internet_nothing_but_the_exceptions_passes() -> None:
    policy = Policy(internet=False, allowed=(Destination.parse("10.2.0.0/16"),), gateway_resolves=True)

    made = rules(policy, Family.IPV4, Line.FIRST, ["invoker0"])

    assert made.forwarded == (
        *REPLIES,
        *RELATED_4,
        f"-o invoker0 {REJECT_4}",
        "-d 10.2.0.0/16 -j RETURN",
        REJECT_4,
    )
    assert made.incoming == (
        *REPLIES,
        *RELATED_4,
        "-p udp -m udp --dport 53 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN",
        "-p tcp -m tcp --dport 53 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN",
        REJECT_4,
    )


@pytest.mark.parametrize(("family", "reject"), [(Family.IPV4, REJECT_4), (Family.IPV6, REJECT_6)])
def test_the_second_line_is_the_first_that_drops(family: Family, reject: str) -> None:
    first = rules(POLICY, family, Line.FIRST, ["invoker0"])
    second = rules(POLICY, family, Line.SECOND, ["invoker0"])

    assert second.forwarded == tuple(rule.replace(reject, "-j DROP") for rule in first.forwarded)
    assert second.incoming == tuple(rule.replace(reject, "-j DROP") for rule in first.incoming)


def test_every_address_that_python_knows_to_be_private_is_closed() -> None:
    """Its list comes from IANA's registry, as ours does; the deprecated relays of 6to4 lead nowhere."""
    named = ("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.0.1", "172.31.255.255", "192.0.0.170")
    more = ("192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255")

    for address in map(ipaddress.IPv4Address, (*named, *more)):
        assert not address.is_global
        assert any(address in network for network in CLOSED), address
