"""The section `[firewall]`."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec

from invoker import Section, SettingsSection
from invoker.config import Conflict
from invoker.units import Seconds
from invoker_firewall.destination import Address, Destination

GATEWAY: Final = "gateway"
"""The word for the bridge's own address among `resolvers`."""


class FirewallSettings(Section, frozen=True, kw_only=True):
    """What actions' containers may reach: packet filter rules in chains of the invoker's own."""

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
        faults = list(self._faults())
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
        return tuple(ipaddress.ip_address(each) for each in self.resolvers or () if each != GATEWAY)

    def _faults(self) -> Iterator[str]:
        for name, entries in (("allow", self.allow), ("deny", self.deny)):
            for entry in entries:
                try:
                    Destination.parse(entry)
                except ValueError as error:
                    yield f"{name}: {error}"
        for entry in self.resolvers or ():
            if entry != GATEWAY and not _is_address(entry):
                yield f"resolvers: expected an address or {GATEWAY!r}, got {entry[:60]!r}"


def _is_address(text: str) -> bool:
    try:
        return "%" not in str(ipaddress.ip_address(text))
    except ValueError:
        return False


def _named_for_docker(sections: Mapping[str, Any]) -> Iterator[Conflict]:
    """Containers that ask others than the machine does would be cut off from names."""
    if "docker" in sections and sections["docker"].dns and sections["firewall"].resolvers is None:
        yield ("firewall.resolvers",), "must be given where docker.dns is, with the same addresses"


SECTION = SettingsSection(name="firewall", into=FirewallSettings, check=_named_for_docker)
