"""One container: an action proxy and whatever it starts; requests to it, and what it prints."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Final

from invoker.action_connection import ActionConnection, Disconnected
from invoker.contracts import Container, Output
from invoker.entities.container import ContainerState, Reply, Stream
from invoker.errors import Lost, Unreachable
from invoker_process.messages import ChildExited, ChildGone, ChildStarted
from invoker_process.supervisor_client import SupervisorClient

LAST_WORDS: Final = 1.0
"""Seconds for which a cut connection waits to be explained by the end of the process."""
CHUNK: Final = 1 << 16
"""Bytes of output read at once: what a pipe holds. A larger buffer is mapped anew each time, which costs 10 µs."""
LAST_CHUNKS: Final = 16
"""Chunks that are read when all writers are dead. A pipe holds one; more come only from somebody who hides."""
_RUNNING: Final = ContainerState(running=True)
_UNKNOWN_END: Final = ContainerState(running=False)


class ProcessContainer(Container):
    """Made before its process is started; hears of its end from the supervisor."""

    def __init__(
        self, name: str, number: int, supervisor: SupervisorClient, output: Output, on_gone: Callable[[str], None]
    ) -> None:
        self._name = name
        self._number = number
        self._supervisor = supervisor
        self._on_gone = on_gone
        self._pipes = OutputPipes(output)
        self._lifeline = -1
        """Writing end of the proxy's standard input, held by nobody else: it leaves when this is closed."""
        self._socket = -1
        """Descriptor of what the proxy listens on."""
        self._connections: list[ActionConnection] = []
        self._free: list[ActionConnection] = []
        """Those without a request; there are as many as there were requests at one time."""
        self._state = _RUNNING
        self._ended = asyncio.Event()
        self._left = asyncio.Event()
        self._removing = False

    def streams(self) -> list[int]:
        """Make the standard input, output and error that the first process inherits. They are the caller's.

        Raises:
            OSError: there is no descriptor left.
        """
        with contextlib.ExitStack() as failed:
            stdin, self._lifeline = os.pipe()
            failed.callback(os.close, stdin)
            stdout = self._pipes.attach(Stream.STDOUT)
            failed.callback(os.close, stdout)
            stderr = self._pipes.attach(Stream.STDERR)
            failed.pop_all()
        return [stdin, stdout, stderr]

    @property
    def name(self) -> str:
        """See `Container`."""
        return self._name

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109 (a contract)
        """See `Container`. Nothing waits for the proxy to boot: its socket takes connections already."""
        connection = self._free.pop() if self._free else self._connection()
        try:
            return await connection.post(path, body, timeout=timeout, limit=limit)
        except Disconnected as error:
            raise Lost(await self._explanation(), at=error.at) from None
        finally:
            self._free.append(connection)

    async def inspect(self) -> ContainerState:
        """See `Container`. Of every end we hear; asked is how much memory a living one has had."""
        if self._state.running and not self._removing:
            peak = await self._supervisor.peak(self._number)
            if self._state.running:
                return ContainerState(running=True, peak_memory=peak)
        return self._state

    async def remove(self) -> None:
        """See `Container`."""
        if not self._removing:
            self._removing = True
            self._hang_up()
            self._supervisor.kill(self._number)
        await self._left.wait()

    def hear(self, event: ChildStarted | ChildExited | ChildGone, descriptors: Sequence[int]) -> None:
        """Learn that the first process runs, or has ended, or that nothing is left: then give back all that is held."""
        if isinstance(event, ChildStarted):
            if descriptors:
                (self._socket,) = descriptors
        elif isinstance(event, ChildExited):
            self._state = ContainerState(
                running=False, exit_code=event.code, memory_exhausted=event.memory_exhausted, peak_memory=event.peak
            )
            self._ended.set()
        elif not self._left.is_set():
            if self._state.running:  # its supervisor was killed, and it with it
                self._state = _UNKNOWN_END
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

    async def _explanation(self) -> ContainerState:
        """Return how it ended; a process whose connection was cut has ended, or is about to, as a rule."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._ended.wait()
        return self._state

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
        """Make a pipe, read it from now on, and return the end to write to, which is the caller's.

        Raises:
            OSError: there is no descriptor left.
        """
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        self._open[readable] = stream
        self._loop.add_reader(readable, self._reading(readable, stream))
        return writable

    def close(self) -> None:
        """Take what is left in the pipes, close them, and say so once."""
        for descriptor, stream in list(self._open.items()):
            with contextlib.suppress(BlockingIOError):
                for _ in range(LAST_CHUNKS):
                    if not (chunk := os.read(descriptor, CHUNK)):
                        break
                    self._output.write(stream, chunk)
            self._end(descriptor)
        if not self._closed:  # there was no pipe at all
            self._closed = True
            self._output.closed()

    def _reading(self, descriptor: int, stream: Stream) -> Callable[[], None]:
        """Return what reads one chunk. A closure: no attribute is looked up on the way of an invocation."""
        read = os.read
        write = self._output.write

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
        if not self._open and not self._closed:
            self._closed = True
            self._output.closed()
