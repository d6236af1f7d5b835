"""One container: an action proxy and whatever it starts."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Final

from invoker.action_connection import ActionConnection, Disconnected
from invoker.contracts import Container, Output
from invoker.entities.container import ContainerState, Reply, Stream
from invoker.errors import Lost, Unreachable
from invoker_process.frames import Exited
from invoker_process.output import OutputPipes
from invoker_process.warden_client import WardenClient

LOOPBACK: Final = "127.0.0.1"
LAST_WORDS: Final = 1.0
"""Seconds for which a cut connection waits to be explained by the end of the process."""
_BACKLOG: Final = 128

_RUNNING: Final = ContainerState(running=True)
_UNKNOWN_END: Final = ContainerState(running=False)


class ProcessContainer(Container):
    """Also the warden's charge, which is how it learns of its end. Made before the process is started."""

    def __init__(
        self, name: str, ward: int, warden: WardenClient, output: Output, on_gone: Callable[[str], None]
    ) -> None:
        self._name = name
        self._ward = ward
        self._warden = warden
        self._on_gone = on_gone
        self._pipes = OutputPipes(output)
        self._lifeline = -1
        """Writing end of the proxy's standard input, held by nobody else: it leaves when this is closed."""
        self._port = 0
        self._connections: list[ActionConnection] = []
        self._free: list[ActionConnection] = []
        """Those without a request; there are as many as there were requests at one time."""
        self._state = _RUNNING
        self._ended = asyncio.Event()
        self._left = asyncio.Event()
        self._removing = False

    def descriptors(self) -> list[int]:
        """Make what the first process inherits: stdin, stdout, stderr, the listening socket. They are the caller's.

        The socket listens from here on, so that a request can be sent at once; it is held by the process alone, so that
        none is taken for one that has ended.

        Raises:
            OSError: there is no descriptor left.
        """
        with contextlib.ExitStack() as failed:

            def ours(descriptor: int) -> int:
                failed.callback(os.close, descriptor)
                return descriptor

            listener = failed.enter_context(socket.socket())
            listener.bind((LOOPBACK, 0))
            listener.listen(_BACKLOG)
            self._port = listener.getsockname()[1]
            stdin, self._lifeline = os.pipe()
            passed = [ours(stdin)]
            passed += [ours(self._pipes.attach(stream)) for stream in (Stream.STDOUT, Stream.STDERR)]
            failed.pop_all()
            return [*passed, listener.detach()]

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
            raise Lost(await self._explanation(), error.at) from None
        finally:
            self._free.append(connection)

    async def inspect(self) -> ContainerState:
        """See `Container`. The warden tells of every end by itself; asked is how much memory a living one has had."""
        if self._state.running and not self._removing:
            peak = await self._warden.peak(self._ward)
            if self._state.running:
                return ContainerState(running=True, peak_memory=peak)
        return self._state

    async def remove(self) -> None:
        """See `Container`."""
        if not self._removing:
            self._removing = True
            self._hang_up()
            self._warden.kill(self._ward)
        await self._left.wait()

    def exited(self, event: Exited) -> None:
        """Learn that the first process has ended."""
        self._state = ContainerState(
            running=False, exit_code=event.code, memory_exhausted=event.memory_exhausted, peak_memory=event.peak
        )
        self._ended.set()

    def gone(self) -> None:
        """Learn that nothing is left; give back what is held here."""
        if self._left.is_set():
            return
        if self._state.running:  # its warden was killed, and it with it
            self._state = _UNKNOWN_END
        self._removing = True
        self._hang_up()
        self._pipes.close()
        self._ended.set()
        self._left.set()
        self._on_gone(self._name)

    def _connection(self) -> ActionConnection:
        if self._removing:
            raise Unreachable(f"the container {self._name} is removed")
        connection = ActionConnection(LOOPBACK, self._port)
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
