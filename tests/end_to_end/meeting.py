"""A place where the test meets functions while they run: each says who it is, and waits until it may go on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

PATIENCE = 30.0

PYTHON = """
import json, os, socket, sys

def visit(port, **facts):
    link = socket.create_connection(("127.0.0.1", port))
    link.sendall(json.dumps({"pid": os.getpid(), **facts}).encode() + b"\\n")
    return link

def daemon():
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if pid := os.fork():
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.execvp("sleep", ["sleep", "600"])
    os.wait()
    return int(os.read(reading, 20))
"""
"""For the source of an action: `visit(port).recv(1)` returns when the test lets it go; `daemon()` starts a process that
nothing ties to it but its origin."""

NODEJS = """
const net = require("net");

function visit(port, facts) {
  return new Promise((resolve) => {
    const link = net.connect(port, "127.0.0.1");
    link.write(JSON.stringify({ pid: process.pid, ...facts }) + "\\n");
    link.once("data", () => resolve(link.destroy()));
  });
}

function daemon() {
  const child = require("child_process").spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
  child.unref();
  return child.pid;
}
"""
"""The same, with promises."""


class Visitor:
    """A process that has come."""

    def __init__(self, facts: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.facts = facts
        self._reader = reader
        self._writer = writer

    @property
    def pids(self) -> list[int]:
        """Its process, and its daemon if it has one."""
        return [self.facts[name] for name in ("pid", "daemon") if name in self.facts]

    async def let_go(self) -> None:
        """Let it go on."""
        self._writer.write(b".")
        await self._writer.drain()

    async def left(self) -> None:
        """Wait until no process holds the connection any more, those that inherited it included."""
        async with asyncio.timeout(PATIENCE):
            try:
                while await self._reader.read(1 << 10):
                    pass
            except ConnectionResetError:
                return


class Meeting:
    """The place."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[Visitor] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def visitor(self) -> Visitor:
        """Wait for the next one to come."""
        async with asyncio.timeout(PATIENCE):
            return await self._came.get()

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take in whoever connects."""
        self._writers.append(writer)
        self._came.put_nowait(Visitor(json.loads(await reader.readline()), reader, writer))

    def close(self) -> None:
        """Send everybody away."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def meeting() -> AsyncIterator[Meeting]:
    """Open a place on a port of its own; leaving lets all go who still wait."""
    place = Meeting()
    server = await asyncio.start_server(place.welcome, "127.0.0.1", 0)
    async with server:
        place.port = server.sockets[0].getsockname()[1]
        try:
            yield place
        finally:
            place.close()
