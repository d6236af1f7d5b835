"""Which packets pass: from what is wanted to the packet filter's rules. No input, no output.

A packet that a rule returns goes on to the machine's own rules, so that the firewall closes and never opens.

There are two lines of the same rules. The first rejects: it answers at once, so that a function sees an error rather
than a silence. But somebody else's rule that lets packets through may come to stand before it: podman's network plugin
puts one there with its first container (netavark 1.4). What was let through still meets the second line, which drops.
"""

import enum
import ipaddress
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import msgspec

from invoker_firewall.destination import Address, Destination


class Family(enum.Enum):
    """A version of the Internet protocol; each has programs and tables of its own."""

    IPV4 = 4
    IPV6 = 6

    def __str__(self) -> str:
        """Return the name that people use."""
        return f"IPv{self.value}"

    @property
    def program(self) -> str:
        """What the names of its programs begin with."""
        return "iptables" if self is Family.IPV4 else "ip6tables"


class Line(enum.Enum):
    """A line of rules; its value is the table that it is in. The kernel asks `security` after `filter`."""

    FIRST = "filter"
    SECOND = "security"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What containers may reach."""

    internet: bool = True
    allowed: tuple[Destination, ...] = ()
    denied: tuple[Destination, ...] = ()
    resolvers: tuple[Address, ...] = ()
    gateway_resolves: bool = False
    """Whether the bridge's own address is a name server, as podman's is."""


class Rules(msgspec.Struct, frozen=True):
    """What a packet from a container meets, in this order; each a rule without the chain in front."""

    forwarded: tuple[str, ...]
    """On its way to anywhere but this machine."""
    incoming: tuple[str, ...]
    """On its way to this machine."""


CLOSED: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' and VPNs'; Alibaba Cloud's metadata too
        "127.0.0.0/8",  # routed where route_localnet is set, as Kubernetes does
        "168.63.129.16/32",  # Azure's own: public in form, credentials of the machine behind it
        "169.254.0.0/16",  # metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # Oracle Cloud's metadata
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
"""Networks that IANA's registry of special addresses doesn't call globally reachable, and Azure's address."""

_PUBLIC_IPV6: Final = IPv6Network("2000::/3")
"""All that is given out; beyond it are loopback, private (`fc00::/7`), link-local and multicast addresses."""
_CLOSED_PUBLIC_IPV6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/32",  # Teredo and
        "2002::/16",  # 6to4 lead to IPv4 addresses, and have had their day
        "2001:db8::/32",
        "3fff::/20",
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")

_REPLIES: Final = "-m conntrack --ctstate ESTABLISHED --ctdir REPLY -j RETURN"
"""To whoever reached the container first, such as the invoker. Not all that is established: a connection that a
container made while the rules were away ends when they are back."""
_RELATED: Final = {
    # ICMP only: helpers for FTP and its like would relate whatever a hostile server names
    Family.IPV4: "-p icmp -m conntrack --ctstate RELATED -j RETURN",
    Family.IPV6: "-p ipv6-icmp -m conntrack --ctstate RELATED -j RETURN",
}
_REFUSAL: Final = {
    (Family.IPV4, Line.FIRST): "-j REJECT --reject-with icmp-admin-prohibited",
    (Family.IPV6, Line.FIRST): "-j REJECT --reject-with icmp6-adm-prohibited",
    (Family.IPV4, Line.SECOND): "-j DROP",  # to reject is possible in the table `filter` only
    (Family.IPV6, Line.SECOND): "-j DROP",
}
_NEIGHBOURS: Final = ("133", "135", "136")
"""Types of ICMPv6 by which a container finds its router (RFC 4861); without them it has no IPv6."""
_DNS: Final = 53


def rules(policy: Policy, family: Family, line: Line, bridges: Sequence[str]) -> Rules:
    """Return what packets of a family meet that come from containers behind `bridges`."""
    refuse = _REFUSAL[family, line]
    return Rules(tuple(_forwarded(policy, family, refuse, bridges)), tuple(_incoming(policy, family, refuse)))


def _forwarded(policy: Policy, family: Family, refuse: str, bridges: Sequence[str]) -> Iterator[str]:
    yield _REPLIES
    yield _RELATED[family]
    yield from (f"-o {bridge} {refuse}" for bridge in bridges)  # other containers, whatever is allowed
    yield from _to_resolvers(policy, family)
    for destination in _of(family, policy.allowed):
        matches = _asked_for if destination.is_one_address else _going_to
        yield from (f"{match} -j RETURN" for match in matches(destination))
    if not policy.internet:
        yield refuse
        return
    for destination in _of(family, policy.denied):
        yield from (f"{match} {refuse}" for match in _going_to(destination))
    yield from _private(family, refuse)


def _incoming(policy: Policy, family: Family, refuse: str) -> Iterator[str]:
    yield _REPLIES
    yield _RELATED[family]
    if family is Family.IPV6:
        yield from (f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN" for kind in _NEIGHBOURS)
    if policy.gateway_resolves:
        for protocol in ("udp", "tcp"):
            yield f"-p {protocol} -m {protocol} --dport {_DNS} -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN"
    yield from _to_resolvers(policy, family)
    for destination in _of(family, policy.allowed):
        if destination.is_one_address:  # a network that this machine is in doesn't mean this machine
            yield from (f"{match} -j RETURN" for match in _asked_for(destination))
    yield refuse


def _to_resolvers(policy: Policy, family: Family) -> Iterator[str]:
    for resolver in policy.resolvers:
        if resolver.version == family.value:
            asked = Destination(ipaddress.ip_network(resolver), (_DNS, _DNS), ("udp", "tcp"))
            yield from (f"{match} -j RETURN" for match in _asked_for(asked))


def _private(family: Family, refuse: str) -> Iterator[str]:
    if family is Family.IPV4:
        yield from (f"-d {network} {refuse}" for network in CLOSED)
        return
    yield from (f"-d {_behind_nat64(network)} {refuse}" for network in CLOSED)
    yield f"-d {_NAT64} -j RETURN"
    yield f"! -d {_PUBLIC_IPV6} {refuse}"
    yield from (f"-d {network} {refuse}" for network in _CLOSED_PUBLIC_IPV6)


def _behind_nat64(network: IPv4Network) -> IPv6Network:
    """Return where a translator (RFC 6052) shows an IPv4 network."""
    first = int(_NAT64.network_address) | int(network.network_address)
    return IPv6Network((first, _NAT64.prefixlen + network.prefixlen))


def _of(family: Family, destinations: Sequence[Destination]) -> Iterator[Destination]:
    return (destination for destination in destinations if destination.version == family.value)


def _asked_for(destination: Destination) -> Iterator[str]:
    """Yield matches of what the container asked for, wherever the machine sends it, as to a cluster's service."""
    address = destination.network.network_address
    if destination.ports is None:
        yield f"-m conntrack --ctorigdst {address}"
        return
    ports = _range(*destination.ports)
    for protocol in destination.protocols:
        yield f"-p {protocol} -m conntrack --ctorigdst {address} --ctorigdstport {ports}"


def _going_to(destination: Destination) -> Iterator[str]:
    """Yield matches of where the packet really goes."""
    if destination.ports is None:
        yield f"-d {destination.network}"
        return
    ports = _range(*destination.ports)
    for protocol in destination.protocols:
        yield f"-d {destination.network} -p {protocol} -m {protocol} --dport {ports}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}:{last}"
