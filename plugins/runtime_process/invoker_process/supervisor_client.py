"""The invoker's side of its supervisor: starts it, asks it, hears from it."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self, TypeAlias, TypeVar

from invoker.errors import SettingsError, StartFailed
from invoker_process.messages import (
    ChildExited,
    ChildGone,
    ChildStarted,
    KillChild,
    Message,
    MessageChannel,
    PeakMemory,
    StartChild,
    SupervisorReady,
    close_all,
)
from invoker_process.settings import ProcessSettings

T = TypeVar("T")
Hear: TypeAlias = Callable[[ChildStarted | ChildExited | ChildGone, Sequence[int]], None]
"""How a container hears what became of it; the descriptors are its own to close."""

logger = logging.getLogger("invoker.process")

_PROGRAM: Final = Path(__file__).with_name("supervisor.py")
_PATIENCE: Final = 30.0
"""Seconds a supervisor may take to start, which includes cleaning up after another, and to leave."""


class SupervisorClient:
    """A running supervisor. Everything is sent in the order of the calls, and nothing here waits by polling."""

    def __init__(self, connection: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._channel = MessageChannel(connection)
        self._on_death: Callable[[], None] = self.abandon
        self._process: asyncio.subprocess.Process | None = None
        self._containers: dict[int, Hear] = {}
        self._starting: dict[int, asyncio.Future[None]] = {}
        self._asking: dict[int, asyncio.Future[int | None]] = {}
        """By container: who asks meanwhile gets the same answer."""
        self._ready: asyncio.Future[SupervisorReady] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._loop.add_reader(connection, self._read)

    @classmethod
    async def start(cls, settings: ProcessSettings, on_death: Callable[[], None]) -> Self:
        """Start a supervisor. `on_death` is called if it ends without having been asked to; `abandon` is then owed.

        Raises:
            SettingsError: the directory for working directories can't be used.
            StartFailed: it did not start.
        """
        ours, theirs = MessageChannel.pair()
        client = cls(ours)
        try:
            with theirs:
                client._process = await _run(theirs, settings)
            async with asyncio.timeout(_PATIENCE):
                ready = await client._ready
        except (OSError, TimeoutError) as error:
            await client.dismiss()
            raise StartFailed(f"the supervisor did not start: {error}") from error
        except BaseException:
            await client.dismiss()
            raise
        client._on_death = on_death
        _report(ready)
        return client

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._process.pid if self._process is not None else 0

    @property
    def containers(self) -> int:
        """How many of them there are, as far as anything is left."""
        return len(self._containers)

    async def spawn(self, order: StartChild, descriptors: Sequence[int], hear: Hear) -> None:
        """Start a container; its descriptors are passed on and closed here, whatever happens.

        Raises:
            StartFailed: it was not started. `hear` is told nothing more, unless the supervisor died.
        """
        started = self._starting[order.number] = self._loop.create_future()
        self._containers[order.number] = hear
        try:
            self._send(order, descriptors)
            await started
        except ValueError as error:
            raise StartFailed(f"its environment is too long: {error}") from error
        finally:
            del self._starting[order.number]

    def kill(self, number: int) -> None:
        """Have a container ended; it hears when it is gone."""
        self._send(KillChild(number))

    async def peak(self, number: int) -> int | None:
        """Return how many bytes of memory a container has had at most; `None` if nobody can tell."""
        if self._ended.is_set():
            return None
        if number not in self._asking:
            self._asking[number] = self._loop.create_future()
            self._send(PeakMemory(number))
        return await asyncio.shield(self._asking[number])

    async def dismiss(self) -> bool:
        """Have everything ended and cleaned up, and wait until it has left; return whether it did all that."""
        self._on_death = self.abandon
        if not self._ended.is_set():
            self._loop.remove_writer(self._connection)
            self._channel.drop()
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.left()
        except TimeoutError:  # processes that even SIGKILL doesn't end, in a system call on a dead disk
            logger.error("the supervisor (process %d) doesn't leave and is killed", self.pid)  # noqa: TRY400 (no surprise)
            if self._process is not None:
                self._process.kill()
            await self.left()
        return self._process is not None and self._process.returncode == 0

    async def left(self) -> None:
        """Wait until it has ended."""
        if self._process is None:
            self._end()
        await self._ended.wait()
        if self._process is not None:
            await self._process.wait()

    def abandon(self) -> None:
        """Tell the containers of a supervisor that has ended that nothing of them is left."""
        while self._containers:
            number, hear = self._containers.popitem()
            hear(ChildGone(number), ())

    def _read(self) -> None:
        for message, descriptors in self._channel.receive():
            self._take(message, descriptors)
        if self._channel.ended:
            self._end()

    def _take(self, message: Message, descriptors: Sequence[int]) -> None:
        match message:
            case ChildStarted(number, error) if number in self._containers:
                self._containers[number](message, descriptors)
                _settle(self._starting.get(number), StartFailed(error) if error else None)
            case ChildExited(number) if number in self._containers:
                self._containers[number](message, ())
            case ChildGone(number) if number in self._containers:
                self._containers.pop(number)(message, ())
            case PeakMemory(number, peak):
                _settle(self._asking.pop(number, None), peak)
            case SupervisorReady(error):
                _settle(self._ready, SettingsError([f"process.work_dir: {error}"]) if error else message)

    def _end(self) -> None:
        """Note that it has left, or was killed."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        self._channel.drop()
        self._connection.close()
        error = StartFailed("the supervisor has ended")
        _settle(self._ready, error)
        for started in self._starting.values():
            _settle(started, error)
        while self._asking:
            _settle(self._asking.popitem()[1], None)
        self._on_death()

    def _send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        if self._ended.is_set():
            close_all(descriptors)
        elif not self._channel.send(message, descriptors):
            self._loop.add_writer(self._connection, self._flush)

    def _flush(self) -> None:
        if self._channel.flush():
            self._loop.remove_writer(self._connection)


async def _run(theirs: socket.socket, settings: ProcessSettings) -> asyncio.subprocess.Process:
    """Start the process, with nothing of ours but its socket and stderr, in a session of its own."""
    base = settings.work_dir or Path(tempfile.gettempdir())
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(_PROGRAM)),
        *(str(theirs.fileno()), str(base), settings.cgroup, str(float(settings.sample_interval)), str(os.getpid())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
        cwd="/",
        env={},
    )


def _report(ready: SupervisorReady) -> None:
    if ready.groups:
        logger.info("memory of actions is limited by control groups in %s", ready.groups)
    else:
        logger.info("memory of actions is limited by sampling%s", f": {ready.obstacle}" if ready.obstacle else "")


def _settle(future: asyncio.Future[T] | None, outcome: T | Exception) -> None:
    if future is None or future.done():  # whoever waited was cancelled
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
        future.exception()  # whoever waits sees it all the same; nobody must
    else:
        future.set_result(outcome)
