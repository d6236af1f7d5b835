"""Where packets go, as operators write it: `10.1.2.3:5432/tcp`, `10.2.0.0/16`, `[fd00::5]:443`."""

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Self, TypeAlias

import msgspec

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_PORTS: Final = r"(?::(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<protocol>\w+))?)?"
_FORM: Final = re.compile(
    rf"(?:\[(?P<six>[^\[\]]+)\]|(?P<four>[^\[\]:]+)){_PORTS}|(?P<bare>[0-9A-Fa-f:.]+(?:/\d+)?)", re.ASCII
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
    def version(self) -> int:
        """4 or 6."""
        return self.network.version

    @property
    def is_one_address(self) -> bool:
        """Whether it is an address rather than a network."""
        return self.network.prefixlen == self.network.max_prefixlen


def _network(text: str, written: str) -> Network:
    try:
        return ipaddress.ip_network(written)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(written, strict=False)
    except ValueError:
        raise ValueError(
            f"expected {_EXAMPLES}, got {_shown(text)}; names can't be given, for what they stand for changes"
        ) from None
    raise ValueError(f"expected a network such as {str(meant)!r}, got {_shown(text)}, which has bits beyond its prefix")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
