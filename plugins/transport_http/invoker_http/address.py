"""Addresses to listen on: written as `host:port`, resolved, judged and bound."""

import asyncio
import errno
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import msgspec

from invoker.errors import Occupied, SettingsError

_FORM: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>\d{1,5})", re.ASCII)
_LAST_PORT: Final = 65535


class Address(msgspec.Struct, frozen=True):
    """Where to listen; port 0 lets the system choose. An empty host stands for all addresses."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises:
            ValueError: says what would be one.
        """
        match = _FORM.fullmatch(text)
        if match is None or int(match["port"]) > _LAST_PORT:
            raise ValueError(f"expected an address such as '127.0.0.1:8080' or '[::1]:8080', got {text[:60]!r}")
        return cls(match["six"] or match["host"], int(match["port"]))

    def __str__(self) -> str:
        """Return the form that `parse` reads."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Place(msgspec.Struct, frozen=True):
    """One of the socket addresses that an `Address` stands for."""

    family: int
    name: tuple[Any, ...]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        address = ipaddress.ip_address(self.name[0].partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address.is_loopback


async def resolved(setting: str, address: Address) -> tuple[Place, ...]:
    """Return every place that an address stands for.

    Raises:
        SettingsError: its host has no address.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that no name can have
        raise SettingsError([f"{setting}: the host {address.host!r} has no address: {error}"]) from error
    return tuple(dict.fromkeys(Place(family, name) for family, _, _, _, name in found))


def bound(setting: str, address: Address, places: Sequence[Place]) -> list[socket.socket]:
    """Return a socket for each place; a port that the system chose for the first is the others' too.

    Raises:
        SettingsError: one can't be had; none is left open.
    """
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for place in places:
            one = socket.socket(place.family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setblocking(False)  # noqa: FBT003 (its only argument)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if place.family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((place.name[0], port, *place.name[2:]))
            port = one.getsockname()[1]
    except OSError as error:
        close_all(sockets)
        fault = f"{setting}: can't listen on {address}: {_remedy(setting, error)}"
        if error.errno == errno.EADDRINUSE:
            raise Occupied(fault) from error
        raise SettingsError([fault]) from error
    return sockets


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close sockets; those that are closed already stay so."""
    for one in sockets:
        one.close()


def url(scheme: str, address: Address, sockets: Sequence[socket.socket]) -> str:
    """Return where a listener can be reached, with the port that it really has."""
    name = sockets[0].getsockname()
    return f"{scheme}://{Address(address.host or name[0], name[1])}"


def _remedy(setting: str, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"address already in use: stop the other program, or set {setting} to another port"
        case errno.EACCES:
            return f"permission denied: ports below 1024 need a privilege; set {setting} to another port"
        case errno.EADDRNOTAVAIL:
            return f"it is no address of this machine: set {setting} to one that is"
        case _:
            return error.strerror or str(error)
