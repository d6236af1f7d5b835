"""Which packets pass: from what is wanted to chains of an nftables table. No input, no output.

What is accepted here goes on to everybody else's rules, which the kernel asks as well; what is rejected here is gone,
whatever others accept. So the table closes and never opens, and nobody else's rules need to be known.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

from invoker_firewall.settings import Address, Destination, FirewallSettings

Ruleset: TypeAlias = Mapping[str, Sequence[str]]
"""The rules of each chain. The kernel asks the chains named like a hook, the others are gone to from there."""

HOOKS: Final = ("forward", "input")
"""Where packets come by that go to others, and to this machine."""
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

_PUBLIC_IPV6: Final = "2000::/3"
"""All that is given out; beyond it are loopback, private (`fc00::/7`), link-local and multicast addresses."""
_CLOSED_PUBLIC_IPV6: Final = ("2001::/32", "2002::/16", "2001:db8::/32", "3fff::/20")
"""Teredo and 6to4, which lead to IPv4 addresses and have had their day, and what is for documentation."""
_NAT64: Final = IPv6Network("64:ff9b::/96")

_REFUSE: Final = "goto refuse"
_ANSWERS: Final = (
    # To whoever reached the container first, such as the invoker. Not all that is established: a connection that a
    # container made while the rules were away ends when they are back.
    "ct direction reply ct state established accept",
    # ICMP only: helpers for FTP and its like would relate whatever a hostile server names
    "meta l4proto { icmp, icmpv6 } ct state related accept",
)
_NEIGHBOURS: Final = "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept"
"""By which a container finds its router (RFC 4861); without them it has no IPv6."""
_GATEWAY: Final = "fib daddr . iif type local meta l4proto { tcp, udp } th dport 53 accept"


def ruleset(
    settings: FirewallSettings, bridges: Sequence[str], resolvers: Sequence[Address], *, gateway: bool
) -> Ruleset:
    """Return what keeps containers behind `bridges` where the settings say; `gateway`: a bridge's address resolves."""
    if not bridges:
        return {}
    behind = _set(f'"{bridge}"' for bridge in bridges)
    first = (f"iifname != {behind} accept", *_ANSWERS)
    asked = [Destination(ipaddress.ip_network(each), (53, 53), ("udp", "tcp")) for each in resolvers]
    asked += [each for each in settings.allowed if each.is_one_address]
    return {
        "asked": [f"{match} accept" for each in asked for match in _asked_for(each)],
        "refuse": ["counter name rejected reject with icmpx admin-prohibited"],  # an error at once, and no silence
        "forward": [*first, f"oifname {behind} {_REFUSE}", *_forward(settings)],  # no other container, ever
        "input": [*first, _NEIGHBOURS, *([_GATEWAY] if gateway else ()), "jump asked", _REFUSE],
    }


def _forward(settings: FirewallSettings) -> Iterator[str]:
    yield "jump asked"
    networks = [each for each in settings.allowed if not each.is_one_address]  # this machine isn't meant by them
    yield from (f"{match} accept" for each in networks for match in _going_to(each))
    if not settings.internet:
        yield _REFUSE
        return
    yield from (f"{match} {_REFUSE}" for each in settings.denied for match in _going_to(each))
    yield f"ip daddr {_set(CLOSED)} {_REFUSE}"
    yield f"ip6 daddr {_set((*map(_behind_nat64, CLOSED), *_CLOSED_PUBLIC_IPV6))} {_REFUSE}"
    yield f"ip6 daddr != {_set((_NAT64, _PUBLIC_IPV6))} {_REFUSE}"


def _behind_nat64(network: IPv4Network) -> IPv6Network:
    """Return where a translator (RFC 6052) shows an IPv4 network."""
    first = int(_NAT64.network_address) | int(network.network_address)
    return IPv6Network((first, _NAT64.prefixlen + network.prefixlen))


def _asked_for(destination: Destination) -> Iterator[str]:
    """Yield matches of what the container asked for, wherever the machine sends it, as to a cluster's service."""
    address = f"ct original {_version(destination)} daddr {destination.network.network_address}"
    return _matches(destination, address, "ct original proto-dst")


def _going_to(destination: Destination) -> Iterator[str]:
    """Yield matches of where the packet really goes."""
    return _matches(destination, f"{_version(destination)} daddr {destination.network}", "th dport")


def _matches(destination: Destination, address: str, port: str) -> Iterator[str]:
    if destination.ports is None:
        yield address
    for protocol in destination.protocols:
        yield f"meta l4proto {protocol} {address} {port} {'-'.join(map(str, dict.fromkeys(destination.ports or ())))}"


def _version(destination: Destination) -> str:
    return "ip" if isinstance(destination.network, IPv4Network) else "ip6"


def _set(things: Iterable[object]) -> str:
    return f"{{ {', '.join(map(str, things))} }}"
