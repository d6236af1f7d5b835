"""The other end of an action connection: a real server, on TCP or a Unix socket, whose connections follow a script."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import cast

from invoker.action_connection import ActionConnection
from invoker.entities.container import Reply


@dataclass
class AskedRequest:
    """One request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class PeerConnection:
    """One accepted connection, seen from the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: list[AskedRequest] = field(default_factory=list)

    async def request(self) -> AskedRequest:
        """Read one request to its end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *rest = head.decode("ascii").strip().split("\r\n")
        headers = dict(one.split(": ", 1) for one in rest)
        asked = AskedRequest(line, headers, await self.reader.readexactly(int(headers["Content-Length"])))
        self.asked.append(asked)
        return asked

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each as a packet of its own as far as the kernel lets us."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self, reply: bytes) -> AskedRequest:
        """Read a request, send a reply."""
        asked = await self.request()
        await self.send(reply)
        return asked

    async def caller_left(self) -> bytes:
        """Wait until the caller has closed; return what it sent until then."""
        with suppress(ConnectionResetError):
            return await self.reader.read()
        return b""

    def end_now(self) -> None:
        """Send EOF at once, before the event loop runs again."""
        with socket.socket(fileno=os.dup(self._socket.fileno())) as same:  # the loop's own object can't
            same.shutdown(socket.SHUT_WR)

    def write_now(self, data: bytes) -> None:
        """Send at once, before the event loop runs again."""
        os.write(self._socket.fileno(), data)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    @property
    def _socket(self) -> socket.socket:
        return cast("socket.socket", self.writer.get_extra_info("socket"))


@dataclass
class Peer:
    """A server that is up; its port is 0 if it is on a Unix socket, whose path is then the host."""

    host: str
    port: int
    lines: list[PeerConnection] = field(default_factory=list)


OK = Reply(200, b'{"ok":true}', 11)
LONG = 60.0
SHORT = 0.05
"""Seconds: for what must not come to its end, and for what must."""

unix_path: str | None = None
"""Where to serve, if not on TCP. The fixture `transport` sets it."""

Script = Callable[[PeerConnection], Awaitable[object]]


@asynccontextmanager
async def peer(*scripts: Script, sock: socket.socket | None = None) -> AsyncIterator[Peer]:
    """Serve: the first connection follows the first script, and so on. Every script must be called and end well."""
    waiting = list(scripts)
    async with asyncio.TaskGroup() as connections:

        async def follow(line: PeerConnection, script: Script) -> None:
            try:
                await script(line)
            finally:
                line.writer.close()
                with suppress(ConnectionError):
                    await line.writer.wait_closed()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = PeerConnection(reader, writer)
            up.lines.append(line)
            connections.create_task(follow(line, waiting.pop(0)))

        if unix_path is not None:
            server = await asyncio.start_unix_server(accepted, unix_path)
            up = Peer(unix_path, 0)
        else:
            server = await asyncio.start_server(accepted, sock=sock or socket.create_server(("127.0.0.1", 0)))
            up = Peer(*server.sockets[0].getsockname())
        try:
            yield up
        finally:
            server.close()
    assert not waiting, f"{len(waiting)} connections were never made"


def reply(body: bytes = b'{"ok":true}', *headers: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    """Return a plain reply of that body."""
    lines = [f"HTTP/{version} {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    """Return a reply whose body comes in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n" + trailer + b"\r\n"


async def answers_once(line: PeerConnection) -> None:
    """Script: one reply."""
    await line.answer(reply())
    await line.caller_left()


@asynccontextmanager
async def connected(up: Peer) -> AsyncIterator[ActionConnection]:
    """Make a connection that is closed in the end."""
    way = ActionConnection(up.host, up.port) if up.port else ActionConnection.unix(up.host)
    with closing(way) as connection:
        yield connection


async def post(connection: ActionConnection, *, timeout: float = LONG, wait: bool = False) -> Reply:  # noqa: ASYNC109
    """Send a small request."""
    return await connection.post("/run", b'{"value":{}}', timeout=timeout, limit=1 << 20, wait=wait)
