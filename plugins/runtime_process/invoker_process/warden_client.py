"""The invoker's end of the line to its warden."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, Self, TypeVar

from invoker.errors import SettingsError, StartFailed
from invoker_process import warden
from invoker_process.frames import (
    Ask,
    Exited,
    FrameReader,
    Gone,
    Kill,
    Message,
    Ready,
    Refused,
    Spawn,
    Spawned,
    Told,
    encode,
)
from invoker_process.settings import ProcessSettings

T = TypeVar("T")

logger = logging.getLogger("invoker.process")

_MUCH: Final = 1 << 16
_PATIENCE: Final = 30.0
"""Seconds a warden may take to start, which includes cleaning up after another, and to leave."""


_FULL: Final = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS))
"""What a line says that takes no more just now; the last is about descriptors on their way."""


class Charge(Protocol):
    """Whom the warden's events are about."""

    def exited(self, event: Exited) -> None:
        """Its first process has ended."""
        ...

    def gone(self) -> None:
        """Nothing of it is left."""
        ...


class WardenClient:
    """A running warden. Everything is sent in the order of the calls, and nothing here waits for a reply by polling."""

    def __init__(self, connection: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._on_death: Callable[[Sequence[Charge]], None] = _expected
        self._process: asyncio.subprocess.Process | None = None
        self._frames = FrameReader()
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()
        self._charges: dict[int, Charge] = {}
        self._spawning: dict[int, asyncio.Future[None]] = {}
        self._asking: dict[int, asyncio.Future[int | None]] = {}
        """By container: who asks meanwhile gets the same answer."""
        self._started: asyncio.Future[Ready] = self._loop.create_future()
        self._ended = asyncio.Event()
        connection.setblocking(False)  # noqa: FBT003 (takes no keyword)
        self._loop.add_reader(connection, self._read)

    @classmethod
    async def start(cls, settings: ProcessSettings, on_death: Callable[[Sequence[Charge]], None]) -> Self:
        """Start a warden. `on_death` is told if it ends without having been asked to, with whom it had in charge.

        Raises:
            SettingsError: the work directory can't be used.
            StartFailed: it did not start.
        """
        ours, theirs = socket.socketpair()
        client = cls(ours)
        try:
            with theirs:
                client._process = await _run(theirs, settings)
            async with asyncio.timeout(_PATIENCE):
                ready = await client._started
        except (OSError, TimeoutError) as error:
            await client.dismiss()
            raise StartFailed(f"the warden did not start: {error}") from error
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
    def alive(self) -> bool:
        """Whether it can be asked for anything."""
        return not self._ended.is_set()

    async def spawn(self, order: Spawn, descriptors: Sequence[int], charge: Charge) -> None:
        """Start a container; its descriptors are passed on and closed here, whatever happens.

        Raises:
            StartFailed: it was not started. `charge` is told nothing more, unless the warden died.
        """
        started = self._spawning[order.ward] = self._loop.create_future()
        self._charges[order.ward] = charge
        self._send(order, descriptors)
        try:
            await started
        finally:
            del self._spawning[order.ward]

    def kill(self, ward: int) -> None:
        """Have a container ended; its charge is told when it is gone."""
        self._send(Kill(ward))

    async def peak(self, ward: int) -> int | None:
        """Return how many bytes of memory a container has had at most; `None` if nobody can tell."""
        if ward not in self._asking:
            self._asking[ward] = self._loop.create_future()
            self._send(Ask(ward))
        if not self.alive:
            self._asking.pop(ward)
            return None
        return await asyncio.shield(self._asking[ward])

    async def dismiss(self) -> bool:
        """Have everything ended and cleaned up, and wait until the warden has left; return whether it did all that."""
        self._on_death = _expected
        self._abandon_unsent()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.left()
        except TimeoutError:  # processes that even SIGKILL doesn't end, in a system call on a dead disk
            logger.error("the warden (process %d) doesn't leave and is killed", self.pid)  # noqa: TRY400 (no surprise)
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

    def _read(self) -> None:
        try:
            data = self._connection.recv(_MUCH)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            for message in self._frames.feed(data):
                self._take(message)
        else:
            self._end()

    def _take(self, message: Message) -> None:
        match message:
            case Spawned(ward, error):
                _settle(self._spawning.get(ward), StartFailed(error) if error else None)
            case Exited(ward) if ward in self._charges:
                self._charges[ward].exited(message)
            case Gone(ward) if ward in self._charges:
                self._charges.pop(ward).gone()
            case Told(ward, peak):
                _settle(self._asking.pop(ward, None), peak)
            case Ready():
                _settle(self._started, message)
            case Refused(reason):
                _settle(self._started, SettingsError([f"process.work_dir: {reason}"]))

    def _end(self) -> None:
        """Note that the line is cut: the warden has left, or was killed."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._abandon_unsent()
        self._loop.remove_reader(self._connection)
        self._connection.close()
        error = StartFailed("the warden has ended")
        _settle(self._started, error)
        for started in self._spawning.values():
            _settle(started, error)
        while self._asking:
            _settle(self._asking.popitem()[1], None)
        charges, self._charges = list(self._charges.values()), {}
        self._on_death(charges)

    def _send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        if self.alive:
            self._unsent.append((encode(message), descriptors))
            self._flush()
        else:
            _close(descriptors)

    def _flush(self) -> None:
        """Send what can be sent now; the rest when the warden has read some."""
        while self._unsent:
            data, descriptors = self._unsent[0]
            try:
                sent = socket.send_fds(self._connection, [data], list(descriptors))
            except OSError as error:
                if error.errno in _FULL:
                    self._loop.add_writer(self._connection, self._flush)
                else:  # it died; reading will tell
                    self._abandon_unsent()
                return
            _close(descriptors)
            self._unsent[0] = (data[sent:], ())
            if sent == len(data):
                self._unsent.popleft()
        self._loop.remove_writer(self._connection)

    def _abandon_unsent(self) -> None:
        if self._unsent:
            self._loop.remove_writer(self._connection)
            for _, descriptors in self._unsent:
                _close(descriptors)
            self._unsent.clear()


async def _run(theirs: socket.socket, settings: ProcessSettings) -> asyncio.subprocess.Process:
    """Start the process, with nothing of ours but its end of the line and stderr, in a session of its own."""
    base = settings.work_dir or Path(tempfile.gettempdir())
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(Path(warden.__file__).with_name("__main__.py")),
        *(str(theirs.fileno()), str(base), settings.cgroup, str(float(settings.sample_interval)), str(os.getpid())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
        cwd="/",
        env={},
    )


def _report(ready: Ready) -> None:
    if ready.memory:
        logger.info("memory of actions is limited by control groups in %s", ready.memory)
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


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _expected(charges: Sequence[Charge]) -> None:
    """Tell whom a warden that left as it was asked still had in charge that nothing of them is left."""
    for charge in charges:
        charge.gone()
