"""Callers: raw connections that say what a test tells them, and a client for the contract suite."""

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from invoker.config import Settings
from invoker.contracts import Intake, Operations
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker.testing.transport import Send, SentMessage
from invoker_http.settings import HttpSettings
from invoker_http.transport import opened


@dataclass
class Got:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes
    head: bytes


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def head(self) -> Got:
        """Read a response's head; as soon as it is there."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        headers = dict(one.split(": ", 1) for one in lines)
        return Got(int(line.split(" ")[1]), headers, b"", head)

    async def body(self, got: Got) -> bytes:
        """Read the body that belongs to a head."""
        if "Content-Length" in got.headers:
            return await self.reader.readexactly(int(got.headers["Content-Length"]))
        if got.headers.get("Transfer-Encoding") != "chunked":
            return await self.reader.read()
        body = b""
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            piece = await self.reader.readexactly(size + 2)
            assert piece.endswith(b"\r\n")
            if not size:
                return body
            body += piece[:-2]

    async def response(self) -> Got:
        """Read a whole response."""
        got = await self.head()
        got.body = await self.body(got)
        return got

    async def ask(self, *pieces: bytes) -> Got:
        await self.send(*pieces)
        return await self.response()

    async def rest(self) -> bytes:
        """Read to the end of the connection."""
        return await self.reader.read()

    async def leave(self) -> None:
        """Close."""
        self.writer.close()
        with suppress(OSError):  # it may be cut already
            await self.writer.wait_closed()


async def connected(url: str, tls: ssl.SSLContext | None = None, *, reluctant: bool = False) -> Caller:
    """Connect; a reluctant caller, and its system, read as little as possible before somebody asks for it."""
    where = urlsplit(url)
    connection = socket.socket(socket.AF_INET6 if ":" in (where.hostname or "") else socket.AF_INET)
    if reluctant:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)  # noqa: FBT003 (the standard library's)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (where.hostname, where.port))
    except BaseException:
        connection.close()
        raise
    name = where.hostname if tls is not None else None
    limit = 1 << (10 if reluctant else 22)
    return Caller(*await asyncio.open_connection(sock=connection, ssl=tls, server_hostname=name, limit=limit))


@asynccontextmanager
async def calling(url: str, tls: ssl.SSLContext | None = None, *, reluctant: bool = False) -> AsyncIterator[Caller]:
    """Connect."""
    caller = await connected(url, tls, reluctant=reluctant)
    try:
        yield caller
    finally:
        await caller.leave()


def post(body: bytes, *headers: str, target: str = "/invoke", method: str = "POST", version: str = "1.1") -> bytes:
    """Return a request."""
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join((*lines, "\r\n")).encode() + body


def get(target: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request without a body."""
    return "\r\n".join((f"{method} {target} HTTP/{version}", "Host: localhost", *headers, "\r\n")).encode()


def http(**changes: Any) -> HttpSettings:
    """Return settings with ports that the system chooses, and no listener for operators."""
    return HttpSettings(**({"bind": "127.0.0.1:0", "admin": ""} | changes))


@asynccontextmanager
async def listening(
    intake: Intake, settings: HttpSettings | None = None, *others: Any, operations: Operations | None = None
) -> AsyncIterator[str]:
    """Open the transport; yield the data listener's URL."""
    async with opened(Settings.of(settings or http(), *others), intake, operations or FakeOperations()) as transport:
        yield transport.url


@asynccontextmanager
async def one_caller(
    intake: Intake | None = None,
    *others: Any,
    operations: Operations | None = None,
    reluctant: bool = False,
    **changes: Any,
) -> AsyncIterator[Caller]:
    """Open the transport with changed settings, and connect."""
    intake = intake or FakeIntake()
    async with (
        listening(intake, http(**changes), *others, operations=operations) as url,
        calling(url, reluctant=reluctant) as caller,
    ):
        yield caller


async def settled(measure: Callable[[], float]) -> float:
    """Wait until nothing changes any more that changes with the loop's turns; return it."""
    last = math.nan
    while last != (last := measure()):
        for _ in range(100):
            await asyncio.sleep(0)
    return last


class HttpMessage:
    """See `invoker.testing.transport.SentMessage`: each on a connection of its own."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._head: Got | None = None
        self._answers: list[bytes] | None = None

    async def accepted(self) -> bool:
        if self._head is None:
            self._head = await self._caller.head()
        return self._head.status == 200

    async def answers(self) -> Sequence[bytes]:
        if self._answers is None:
            accepted = await self.accepted()
            assert self._head is not None
            body = await self._caller.body(self._head)
            self._answers = [body] if accepted else []
            await self._caller.leave()
        return self._answers


@asynccontextmanager
async def sending(
    intake: Intake, settings: HttpSettings, *headers: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Send]:
    """Open the transport for the contract suite."""
    async with listening(intake, settings) as url:

        async def send(body: bytes) -> SentMessage:
            caller = await connected(url, tls)
            with suppress(ConnectionError):  # refused before its end: the response says why
                await caller.send(post(body, *headers))
            return HttpMessage(caller)

        yield send
