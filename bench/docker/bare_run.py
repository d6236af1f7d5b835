"""A container's function called and its output read in an event loop, with nothing around it: no frames, no lines."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httptools

from bench.docker.ground import PORT, DockerHost, bare_container, listening
from bench.floor import ask
from bench.messages import FIRST, direct_run, init, is_answer_of_run
from invoker.entities.function import Function
from invoker.sentinel import SENTINEL_LINE

PATIENCE: Final = 60.0
_EDGE: Final = len(SENTINEL_LINE) - 1
_STREAMS: Final = 2


class _Reply(asyncio.Protocol):
    """The way to the action proxy."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        self.answered.set_result(body)


class _Output(asyncio.Protocol):
    """The attach stream: sentinels are looked for, all else is dropped."""

    def __init__(self) -> None:
        self._edge = b""
        self._sentinels = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        straddling = (self._edge + data[:_EDGE]).count(SENTINEL_LINE)
        self._edge = (self._edge + data)[-_EDGE:] if len(data) < _EDGE else data[-_EDGE:]
        self._sentinels += straddling + data.count(SENTINEL_LINE)
        if self._sentinels >= _STREAMS:
            self._sentinels -= _STREAMS
            self.ended.set_result(None)


class BareRun:
    """A function that can be run."""

    def __init__(self, function: Function, proxy: tuple[asyncio.Transport, _Reply], output: _Output) -> None:
        self.faults: list[str] = []
        self._template = direct_run(function)
        self._transport, self._reply = proxy
        self._output = output
        self._number = FIRST

    async def run(self) -> tuple[float, float]:
        """Run it; return the seconds until the reply, and until both sentinels."""
        loop = asyncio.get_running_loop()
        self._number += 1
        request = self._template.render(self._number)
        self._reply.answered = loop.create_future()
        self._output.ended = loop.create_future()
        begun = time.perf_counter()
        self._transport.write(request)
        body = await self._reply.answered
        replied = time.perf_counter()
        await self._output.ended
        ended = time.perf_counter()
        if not is_answer_of_run(body, self._number):
            self.faults.append(repr(body[:300]))
        return replied - begun, ended - begun


@asynccontextmanager
async def bare_run(host: DockerHost, name: str, function: Function) -> AsyncIterator[BareRun]:
    """Have a container that the function runs in."""
    loop = asyncio.get_running_loop()
    engine = host.engine
    with bare_container(host, name) as container:
        stream = engine.attach(container)
        stream.setblocking(False)  # noqa: FBT003 (the standard library's)
        engine.start(container)
        address = (engine.address_of(container), PORT)
        with listening(address) as connection:
            ask(connection, init(function))
        reading, output = await loop.create_unix_connection(_Output, sock=stream)
        transport, reply = await loop.create_connection(_Reply, *address)
        try:
            yield BareRun(function, (transport, reply), output)
        finally:
            transport.abort()
            reading.abort()
