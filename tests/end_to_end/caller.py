"""A caller over raw HTTP: it sees the header before there is a body."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE = 60.0
"""Seconds after which an answer won't come."""


class Address(NamedTuple):
    """Where somebody listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a URL."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(parts.hostname, parts.port)


class Head(NamedTuple):
    """The part of an answer that comes first."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class Connection:
    """One connection; requests go one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._head = Head(0, {})

    async def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        """Send a request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "\r\n"]).encode() + body)
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    async def head(self) -> Head:
        """Wait for status and headers."""
        async with asyncio.timeout(PATIENCE):
            first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        self._head = Head(int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs})
        return self._head

    async def body(self) -> bytes:
        """Wait for the end of the answer."""
        async with asyncio.timeout(PATIENCE):
            if self._head.headers.get("transfer-encoding") == "chunked":
                return b"".join([chunk async for chunk in self._chunks()])
            return await self._reader.readexactly(int(self._head.headers["content-length"]))

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send a request and wait for its whole answer."""
        await self.send(method, path, body, **headers)
        head = await self.head()
        return Answer(head.status, head.headers, await self.body())

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """Connect; leaving hangs up."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


async def ask(address: Address, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """Ask on a connection of its own."""
    async with connected(address) as connection:
        return await connection.ask(method, path, body, **headers)
