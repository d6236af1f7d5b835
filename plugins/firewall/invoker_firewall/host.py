"""What the firewall has to know of the machine: read when asked, never kept."""

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from invoker_firewall.destination import Address
from invoker_firewall.rules import Family

_CAP_NET_ADMIN: Final = 12  # capabilities(7)
_EFFECTIVE: Final = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_SYSTEMD_RESOLV_CONF: Final = Path("/run/systemd/resolve/resolv.conf")
"""The servers behind systemd's own resolver on 127.0.0.53: Docker gives these to containers."""
_BRIDGED: Final = {
    Family.IPV4: "net.bridge.bridge-nf-call-iptables",
    Family.IPV6: "net.bridge.bridge-nf-call-ip6tables",
}


def may_filter() -> bool:
    """Return whether this process has the capability CAP_NET_ADMIN."""
    match = _EFFECTIVE.search(_text(Path("/proc/self/status")))
    return match is not None and bool(int(match[1], 16) >> _CAP_NET_ADMIN & 1)


def has_ipv6() -> bool:
    """Return whether the kernel speaks IPv6."""
    return Path("/proc/net/if_inet6").exists()


def sees_bridged(family: Family) -> bool:
    """Return whether packets between two ports of one bridge come by the packet filter at all."""
    return _text(Path("/proc/sys", *_BRIDGED[family].split("."))).strip() == "1"


def sysctl_of_bridged(family: Family) -> str:
    """Return the name of the setting that makes it so."""
    return _BRIDGED[family]


def legacy_table_in_use(family: Family) -> bool:
    """Return whether the older kind of tables has rules; to ask its programs would make the table."""
    names = {Family.IPV4: "ip_tables_names", Family.IPV6: "ip6_tables_names"}[family]
    return "filter" in _text(Path("/proc/net") / names).split()


def interfaces() -> frozenset[str]:
    """Return the names of all network interfaces."""
    return frozenset(name for _, name in socket.if_nameindex())


def resolvers(path: Path = _RESOLV_CONF, behind: Path = _SYSTEMD_RESOLV_CONF) -> tuple[Address, ...]:
    """Return the name servers that containers are given, or that their engine asks in their name.

    Those on loopback are left out: the engine asks them from the machine's own network, and no packet of a
    container's is seen (found with Docker 20.10).
    """
    named = list(_nameservers(path))
    if any(each.is_loopback for each in named):
        named += _nameservers(behind)
    return tuple(dict.fromkeys(each for each in named if not each.is_loopback and not each.is_link_local))


def _nameservers(path: Path) -> Iterator[Address]:
    for line in _text(path).splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1:
            with contextlib.suppress(ValueError):  # resolvers skip what is no address, and so do engines
                yield ipaddress.ip_address(words[1])


def _text(path: Path) -> str:
    """Return what a file says; nothing if it can't be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
