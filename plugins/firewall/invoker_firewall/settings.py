"""The section `[firewall]`, and destinations as operators write them: `10.1.2.3:5432/tcp`, `[fd00::5]:443`."""

import contextlib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, Final, Self, TypeAlias

import msgspec

from invoker import Section, SettingsSection
from invoker.config import Conflict
from invoker.units import Seconds

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

GATEWAY: Final = "gateway"
"""The word for the bridge's own address among `resolvers`."""

_PORTS: Final = r"(?::(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<protocol>\w+))?)?"
_FORM: Final = re.compile(
    rf"(?:\[(?P<six>[^\[\]%]+)\]|(?P<four>[^\[\]:]+)){_PORTS}|(?P<bare>[0-9A-Fa-f:.]+(?:/\d+)?)", re.ASCII
)
_PROTOCOLS: Final = ("tcp", "udp")
_LAST_PORT: Final = 65535
_SHOWN: Final = 60  # characters of a wrong value that a message repeats
_EXAMPLES: Final = "'10.1.2.3:5432/tcp', '10.2.0.0/16' or '[fd00::5]:443'"


class Destination(msgspec.Struct, frozen=True):
    """An address or a network, and perhaps some of its ports."""

    network: Network
    ports: tuple[int, int] | None = None
    """The first and the last; `None` stands for all ports, and for protocols without any."""
    protocols: tuple[str, ...] = ()
    """Of the ports; empty where there are none."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ADDRESS[/PREFIX][:PORT[-PORT][/tcp|/udp]]; IPv6 with a port is in brackets.

        Raises:
            ValueError: says what would be right.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"expected {_EXAMPLES}, got {_shown(text)}")
        network = _network(text, match["six"] or match["four"] or match["bare"])
        if match["six"] is not None and network.version == 4:  # noqa: PLR2004 (a version has no better name)
            raise ValueError(f"expected an IPv6 address in the brackets, got {_shown(text)}")
        if match["first"] is None:
            return cls(network)
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if not 0 < first <= last <= _LAST_PORT:
            raise ValueError(f"expected ports from 1 to {_LAST_PORT}, the smaller one first, got {_shown(text)}")
        protocol = match["protocol"]
        if protocol not in (None, *_PROTOCOLS):
            raise ValueError(f"expected /tcp, /udp, or none for both, got {_shown(text)}")
        return cls(network, (first, last), _PROTOCOLS if protocol is None else (protocol,))

    @property
    def is_one_address(self) -> bool:
        """Whether it is an address rather than a network."""
        return self.network.prefixlen == self.network.max_prefixlen


class FirewallSettings(Section, frozen=True, kw_only=True):
    """What actions' containers may reach: packet filter rules in a table of the invoker's own."""

    internet: bool = True
    """Whether they reach public addresses. Private ones, this machine's own and other containers are closed anyway."""
    allow: tuple[str, ...] = ()
    """What they reach besides, such as "10.1.2.3:5432/tcp", "10.2.0.0/16" or "[fd00::5]:443"."""
    deny: tuple[str, ...] = ()
    """What they don't reach although it is public, such as your other machines; `allow` goes before it."""
    resolvers: Annotated[tuple[str, ...], msgspec.Meta(examples=[["10.0.0.53"]])] | None = None
    """Name servers that containers ask; "gateway" is the bridge's own address, where podman's listens.

    By default those in this machine's resolv.conf, and the gateway where there is no Docker. An empty list closes all.
    """
    reconcile_interval: Seconds = Seconds(60)
    """Between looks at whether the rules are still as they were put."""
    required: bool = False
    """Refuse to start where the rules can't be put in place, rather than warn that the network is open."""

    def __post_init__(self) -> None:
        """Check what a field's type can't say."""
        fields = (("allow", self.allow, Destination.parse), ("deny", self.deny, Destination.parse))
        faults = []
        for name, entries, read in (*fields, ("resolvers", self.resolvers or (), _resolver)):
            for entry in entries:
                try:
                    read(entry)
                except ValueError as error:
                    faults.append(f"{name}: {error}")
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def allowed(self) -> tuple[Destination, ...]:
        """What `allow` stands for."""
        return tuple(map(Destination.parse, self.allow))

    @property
    def denied(self) -> tuple[Destination, ...]:
        """What `deny` stands for."""
        return tuple(map(Destination.parse, self.deny))

    @property
    def named_resolvers(self) -> tuple[Address, ...]:
        """The addresses in `resolvers`."""
        return tuple(filter(None, map(_resolver, self.resolvers or ())))


def _named_for_docker(sections: Mapping[str, Any]) -> Iterator[Conflict]:
    """Containers that ask others than the machine does would be cut off from names."""
    if "docker" in sections and sections["docker"].dns and sections["firewall"].resolvers is None:
        yield ("firewall.resolvers",), "must be given where docker.dns is, with the same addresses"


SECTION = SettingsSection(name="firewall", into=FirewallSettings, check=_named_for_docker)


def _network(text: str, written: str) -> Network:
    try:
        network = ipaddress.ip_network(written, strict=False)
    except ValueError:
        raise ValueError(
            f"expected {_EXAMPLES}, got {_shown(text)}; names can't be given, for what they stand for changes"
        ) from None
    if network.network_address != ipaddress.ip_interface(written).ip:
        meant = str(network)
        raise ValueError(f"expected a network such as {meant!r}, got {_shown(text)}, which has bits beyond its prefix")
    return network


def _resolver(text: str) -> Address | None:
    """Return an address, `None` for the gateway's."""
    with contextlib.suppress(ValueError):
        if text == GATEWAY or "%" not in text:
            return None if text == GATEWAY else ipaddress.ip_address(text)
    raise ValueError(f"expected an address or {GATEWAY!r}, got {_shown(text)}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
