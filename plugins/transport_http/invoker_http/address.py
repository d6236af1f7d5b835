"""Addresses to listen on: written as `host:port`, resolved and bound; and who can reach them."""

import asyncio
import errno
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Self

import msgspec

from invoker.errors import Occupied, SettingsError

_FORM: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>\d{1,5})", re.ASCII)
_LAST_PORT: Final = 65535
_REMEDIES: Final[dict[int | None, str]] = {
    errno.EADDRINUSE: "address already in use: stop the other program, or set {} to another port",
    errno.EACCES: "permission denied: ports below 1024 need a privilege; set {} to another port",
    errno.EADDRNOTAVAIL: "it is no address of this machine: set {} to one that is",
}


class BindAddress(msgspec.Struct, frozen=True):
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


class SocketAddress(msgspec.Struct, frozen=True):
    """One of the socket addresses that a `BindAddress` stands for."""

    family: int
    name: tuple[Any, ...]


def reachable(addresses: Iterable[SocketAddress]) -> bool:
    """Whether other machines can reach one of them."""
    found = [ipaddress.ip_address(address.name[0].partition("%")[0]) for address in addresses]
    return not all((getattr(one, "ipv4_mapped", None) or one).is_loopback for one in found)


async def resolved(setting: str, text: str) -> Sequence[SocketAddress]:
    """Return every socket address that a setting stands for.

    Raises:
        SettingsError: its host has no address.
    """
    address, loop = BindAddress.parse(text), asyncio.get_running_loop()
    passive = socket.AI_PASSIVE
    try:
        found = await loop.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=passive)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that no name can have
        raise SettingsError([f"{setting}: the host {address.host!r} has no address: {error}"]) from error
    return tuple(dict.fromkeys(SocketAddress(family, name) for family, _, _, _, name in found))


def bound(stack: AsyncExitStack, setting: str, text: str, addresses: Iterable[SocketAddress]) -> list[socket.socket]:
    """Return a socket for each address of a setting; leaving `stack` closes them.

    A port that the system chose for the first is the others' too.

    Raises:
        SettingsError: one can't be had.
    """
    sockets: list[socket.socket] = []
    port = BindAddress.parse(text).port
    try:
        for address in addresses:
            one = stack.enter_context(socket.socket(address.family, socket.SOCK_STREAM))
            one.setblocking(False)  # noqa: FBT003 (its only argument)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address.family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address.name[0], port, *address.name[2:]))
            port = one.getsockname()[1]
            sockets.append(one)
    except OSError as error:
        fault = f"{setting}: can't listen on {text}: {_REMEDIES.get(error.errno, str(error)).format(setting)}"
        if error.errno == errno.EADDRINUSE:
            raise Occupied(fault) from error
        raise SettingsError([fault]) from error
    return sockets
