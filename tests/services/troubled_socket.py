"""A way to a real engine on which things go wrong: bytes are passed on, unless a test says otherwise."""

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from invoker.testing.containers import PATIENCE

CHUNK = 1 << 16
_REQUEST = re.compile(rb"(?P<method>[A-Z]+) (?:/v\d+\.\d+)?(?P<path>/[^ ?]*)[^ ]* HTTP/1\.1\r\n")

Change = Callable[[bytes], bytes]


class Hold:
    """One kind of request that goes no further, or whose answer doesn't, as long as the hold lasts."""

    def __init__(self, request: re.Pattern[str], *, answer: bool) -> None:
        self.request = request
        self.answer = answer
        self.over = asyncio.Event()
        self._reached = asyncio.Event()

    def note(self) -> None:
        self._reached.set()

    async def reached(self) -> None:
        """Wait until a request was held."""
        async with asyncio.timeout(PATIENCE):
            await self._reached.wait()


class _Line:
    """One connection, both ways."""

    def __init__(self) -> None:
        self.holds: list[Hold] = []
        """Of answers that come on it."""
        self.takeover: str | None = None
        """Path of the request that took it over."""
        self.headed = False
        """The answer to that request, or a part of it, has been passed on."""


class TroubledSocket:
    """Tests set what is to go wrong; it is right again when they set it back."""

    def __init__(self, url: str) -> None:
        self.url = ""
        """Where it listens."""
        self.asked: list[str] = []
        """`METHOD /path` of all requests, in order, without the version of the API."""
        self.refusing = False
        """New connections are closed at once."""
        self.corrupt: Change | None = None
        """What is made of all that comes out of attached containers."""
        self.mute = False
        """Nothing more comes out of attached containers, not even its end."""
        self._target = url
        self._noted = asyncio.Condition()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._printing = asyncio.Event()
        self._printing.set()
        self._holds: list[Hold] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def hears(self, request: str, times: int = 1) -> None:
        """Wait until so many requests have come that match `METHOD /path`, from now on."""
        before = len(self.asked)
        async with asyncio.timeout(PATIENCE), self._noted:
            await self._noted.wait_for(
                lambda: sum(bool(re.search(request, one)) for one in self.asked[before:]) >= times
            )

    def stop(self) -> None:
        """Pass nothing on any more, in either direction; connections are taken all the same."""
        self._flowing.clear()

    def go(self) -> None:
        """Pass everything on again, what has come in the meantime first."""
        self._flowing.set()

    @contextmanager
    def detaining_output(self) -> Iterator[None]:
        """Keep what comes out of attached containers, and its end, until the end of the context."""
        self._printing.clear()
        try:
            yield
        finally:
            self._printing.set()

    def cut(self) -> None:
        """Break all connections that there are."""
        for writer in self._writers:
            writer.transport.abort()

    def die(self) -> None:
        """Be an engine that has ended."""
        self.refusing = True
        self.cut()

    @contextmanager
    def holding(self, request: str, *, answer: bool = False) -> Iterator[Hold]:
        """Hold requests that match `METHOD /path`, or only their answers, until the end of the context."""
        hold = Hold(re.compile(request), answer=answer)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            self._holds.remove(hold)
            hold.over.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._writers.add(writer)
        try:
            if not self.refusing:
                await self._carry(reader, writer)
        finally:
            self._serving.discard(task)
            self._writers.discard(writer)
            writer.close()  # once all that came has been passed on

    async def close(self) -> None:
        """End all connections."""
        self.go()
        for hold in self._holds:
            hold.over.set()
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._target)
        there_reader, there_writer = await (
            asyncio.open_unix_connection(parts.path)
            if parts.scheme == "unix"
            else asyncio.open_connection(parts.hostname, parts.port)
        )
        line = _Line()
        try:
            async with asyncio.TaskGroup() as ways:
                back = ways.create_task(self._answers(line, there_reader, writer))
                forth = ways.create_task(self._requests(line, reader, there_writer))
                await asyncio.wait({back, forth}, return_when=asyncio.FIRST_COMPLETED)
                forth.cancel()
                back.cancel()
        finally:
            there_writer.transport.abort()

    async def _requests(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if request := _REQUEST.match(data):
                    await self._note(line, f"{request['method'].decode()} {request['path'].decode()}")
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()

    async def _note(self, line: _Line, request: str) -> None:
        self.asked.append(request)
        async with self._noted:
            self._noted.notify_all()
        if request.endswith("/attach"):
            line.takeover, line.headed = request, False  # it may have carried other requests before
        for hold in [each for each in self._holds if each.request.search(request)]:
            if hold.answer:
                line.holds.append(hold)
            else:
                hold.note()
                await hold.over.wait()

    async def _answers(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                while line.holds:
                    hold = line.holds.pop()
                    hold.note()
                    await hold.over.wait()
                await self._flowing.wait()
                if line.takeover and line.headed:
                    await self._printing.wait()
                if line.takeover and line.headed and self.corrupt is not None:
                    data = self.corrupt(data)
                if not (line.takeover and line.headed and self.mute):
                    writer.write(data)
                    await writer.drain()
                line.headed = True
            if line.takeover:
                await self._printing.wait()
                if self.mute:
                    await asyncio.Event().wait()


@asynccontextmanager
async def troubled(url: str) -> AsyncIterator[TroubledSocket]:
    """Run one before an engine."""
    trouble = TroubledSocket(url)
    with tempfile.TemporaryDirectory() as folder:  # pytest's own paths are too long for a socket
        path = Path(folder) / "engine.sock"
        async with await asyncio.start_unix_server(trouble.serve, path):
            trouble.url = f"unix://{path}"
            try:
                yield trouble
            finally:
                await trouble.close()
