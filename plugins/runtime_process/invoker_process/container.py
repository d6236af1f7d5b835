"""One container: an action proxy and whatever it starts; requests to it, and what it prints."""

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from invoker.action_connection import ActionConnection, Disconnected
from invoker.contracts import Container, Output
from invoker.entities.container import Body, ContainerState, Reply, Stream
from invoker.errors import Lost, StartFailed, Unreachable
from invoker_process.messages import ChildExited, ChildGone, ChildStarted, KillChild, MemoryUse, Message, StartChild
from invoker_process.supervisor_client import SupervisorClient

logger = logging.getLogger("invoker.process")

LAST_WORDS: Final = 1.0
"""Seconds for which a cut connection, or a failure, waits to be explained by what became of the container."""
CHUNK: Final = 1 << 16
"""Bytes of output read at once: what a pipe holds. A larger buffer is mapped anew each time, which costs 10 µs."""
LAST_CHUNKS: Final = 16
"""Chunks that are read when all writers are dead. A pipe holds one; more come only from somebody who hides."""


class ProcessContainer(Container):
    """`start` it, which the contract knows nothing of; `remove` is owed in any case."""

    def __init__(
        self, name: str, number: int, supervisor: SupervisorClient, output: Output, on_gone: Callable[[str], None]
    ) -> None:
        """`number` is what the supervisor calls it; `on_gone` is told its name when nothing is left of it."""
        self._name = name
        self._number = number
        self._supervisor = supervisor
        self._on_gone = on_gone
        self._pipes = OutputPipes(output)
        self._lifeline = -1  # writing end of the proxy's standard input: it leaves when this, the only one, is closed
        self._socket = -1  # descriptor of what the proxy listens on
        self._connections: list[ActionConnection] = []
        self._free: list[ActionConnection] = []  # without a request; as many as there were requests at one time
        self._state = ContainerState(running=True)
        self._started: asyncio.Future[str] | None = None  # why it was not; empty if it was
        self._asked: asyncio.Future[MemoryUse] | None = None  # for all who ask at one time
        self._ended = asyncio.Event()
        self._left = asyncio.Event()
        self._removing = False

    async def start(self, order: StartChild) -> None:
        """Start its first process, or `StartFailed`."""
        streams: list[int] = []
        try:
            stdin, self._lifeline = os.pipe()
            streams.append(stdin)
            streams.append(self._pipes.attach(Stream.STDOUT))
            streams.append(self._pipes.attach(Stream.STDERR))
        except OSError as error:
            for descriptor in streams:
                os.close(descriptor)
            self._give_back()
            raise StartFailed(f"{self._name}: {error.strerror or error}") from error
        self._started = asyncio.get_running_loop().create_future()
        self._supervisor.start_child(order, streams, self.hear)
        if reason := await self._started:
            raise StartFailed(reason)

    @property
    def name(self) -> str:
        """See `Container`."""
        return self._name

    async def post(self, path: str, body: Body, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109 (a contract)
        """See `Container`. Nothing waits for the proxy to boot: its socket takes connections already."""
        connection = self._free.pop() if self._free else self._connection()
        try:
            reply = await connection.post(path, body, timeout=timeout, limit=limit)
        except Disconnected as error:
            with contextlib.suppress(TimeoutError):  # a process whose connection was cut has ended, or is about to
                async with asyncio.timeout(LAST_WORDS):
                    await self._ended.wait()
            raise Lost(self._state, at=error.at) from None
        finally:
            self._free.append(connection)
        if reply.status != HTTPStatus.OK:
            at = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    state = await self.inspect()
                    if state.memory_exhausted:  # the proxy lives; what it waited for was killed
                        raise Lost(state, at=at)
        return reply

    async def inspect(self) -> ContainerState:
        """See `Container`. Of every end we hear; asked is what memory a living one has had."""
        if self._state.running and not self._removing:
            if self._asked is None:
                self._asked = asyncio.get_running_loop().create_future()
                self._supervisor.send(MemoryUse(self._number))
            memory = await asyncio.shield(self._asked)
            if self._state.running:
                return ContainerState(running=True, memory_exhausted=memory.exhausted, peak_memory=memory.peak)
        return self._state

    async def remove(self) -> None:
        """See `Container`."""
        if not self._removing:
            self._removing = True
            self._hang_up()
            self._supervisor.send(KillChild(self._number))
        await self._left.wait()

    def hear(self, event: Message, descriptors: Sequence[int]) -> None:
        """Learn from the supervisor what became of it."""
        match event:
            case ChildStarted():
                if descriptors:
                    (self._socket,) = descriptors
                _settle(self._started, event.error)
            case MemoryUse():
                _settle(self._asked, event)
                self._asked = None
            case ChildExited(_, code, peak, exhausted, remark):
                if remark:
                    logger.warning("%s: %s", self._name, remark)
                self._state = ContainerState(
                    running=False, exit_code=code, memory_exhausted=exhausted, peak_memory=peak, remark=remark
                )
                self._ended.set()
            case ChildGone():
                self._give_back()

    def _give_back(self) -> None:
        """Give back what is held here: nothing else is left of the container."""
        if self._left.is_set():
            return
        if self._state.running:  # its supervisor was killed, and it with it
            self._state = ContainerState(running=False)
        _settle(self._started, "the supervisor has ended")
        _settle(self._asked, MemoryUse(self._number))
        self._removing = True
        self._hang_up()
        self._pipes.close()
        if self._socket >= 0:
            os.close(self._socket)
        self._ended.set()
        self._left.set()
        self._on_gone(self._name)

    def _connection(self) -> ActionConnection:
        if self._removing:
            raise Unreachable(f"the container {self._name} is removed")
        connection = ActionConnection.unix(f"/proc/self/fd/{self._socket}")
        self._connections.append(connection)
        return connection

    def _hang_up(self) -> None:
        for connection in self._connections:
            connection.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


class OutputPipes:
    """The reading ends of both streams: read as they come, pushed on, never held up.

    `add_reader` and one `read` cost 1.9 µs per small chunk with uvloop and 3.2 with asyncio; `connect_read_pipe` 1.7
    and 17, for asyncio's reads 256 KiB.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, Stream] = {}
        self._closed = False

    def attach(self, stream: Stream) -> int:
        """Make a pipe, read it from now on, and return the end to write to, which is the caller's; or `OSError`."""
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        self._open[readable] = stream
        self._loop.add_reader(readable, self._reading(readable, stream))
        return writable

    def close(self) -> None:
        """Take what is left in the pipes, close them, and say so once."""
        for descriptor, stream in list(self._open.items()):
            with contextlib.suppress(BlockingIOError):
                for chunk in itertools.islice(iter(partial(os.read, descriptor, CHUNK), b""), LAST_CHUNKS):
                    self._output.write(stream, chunk)
            self._end(descriptor)
        self._tell_end()  # if there was no pipe at all

    def _reading(self, descriptor: int, stream: Stream) -> Callable[[], None]:
        """Return what reads one chunk. A closure: no attribute is looked up on the way of an invocation."""
        read, write = os.read, self._output.write

        def one_chunk() -> None:
            try:
                chunk = read(descriptor, CHUNK)
            except BlockingIOError:
                return
            if chunk:
                write(stream, chunk)
            else:
                self._end(descriptor)

        return one_chunk

    def _end(self, descriptor: int) -> None:
        del self._open[descriptor]
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        if not self._open:
            self._tell_end()

    def _tell_end(self) -> None:
        if not self._closed:
            self._closed = True
            self._output.closed()


def _settle(future: asyncio.Future[Any] | None, result: object) -> None:
    if future is not None and not future.done():  # else whoever waited was cancelled
        future.set_result(result)
