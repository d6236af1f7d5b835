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
from typing import Final, Self, TypeAlias

from invoker.errors import SettingsError, StartFailed
from invoker_process.messages import ChildGone, Message, MessageChannel, StartChild, SupervisorReady, close_all
from invoker_process.settings import ProcessSettings

Hear: TypeAlias = Callable[[Message, Sequence[int]], None]
"""How a container hears what became of it; the descriptors are its own to close."""

logger = logging.getLogger("invoker.process")

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
        self.containers: dict[int, Hear] = {}  # by their numbers, as far as anything is left of them
        self._ready: asyncio.Future[SupervisorReady | None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._loop.add_reader(connection, self._read)

    @classmethod
    async def start(cls, settings: ProcessSettings, on_death: Callable[[], None]) -> Self:
        """Start a supervisor. `on_death` is called if it ends without having been asked to; `abandon` is then owed.

        Raises:
            SettingsError: the directory for working directories can't be used.
            StartFailed: it did not start.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client = cls(ours)
        program, base = Path(__file__).with_name("supervisor.py"), settings.work_dir or tempfile.gettempdir()
        orders = (theirs.fileno(), base, settings.cgroup, float(settings.sample_interval), os.getpid())
        try:
            with theirs:  # of ours it has this, stderr, and nothing else
                client._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", *map(str, (program, *orders))),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    cwd="/",
                    env={},
                )
            async with asyncio.timeout(_PATIENCE):
                ready = await client._ready
        except BaseException as error:
            await client.dismiss()
            if isinstance(error, OSError):
                raise StartFailed(f"the supervisor did not start: {error}") from error
            raise
        if ready is None or ready.error:
            await client.dismiss()
            raise (SettingsError([ready.error]) if ready else StartFailed("the supervisor has ended"))
        client._on_death = on_death
        logger.info("memory and processes of actions are limited by %s", ready.limits)
        return client

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._process.pid if self._process is not None else 0

    def start_child(self, order: StartChild, streams: Sequence[int], hear: Hear) -> None:
        """Have a container started, which hears of it; its streams are closed here in any case. Or `StartFailed`."""
        self.containers[order.number] = hear
        try:
            self.send(order, streams)
        except ValueError as error:
            raise StartFailed(f"its environment is too long: {error}") from error

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Ask for something. A supervisor that has ended answers only by `abandon`."""
        if self._ended.is_set():
            close_all(descriptors)
        elif not self._channel.send(message, descriptors):
            self._loop.add_writer(self._connection, self._flush)

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
        while self.containers:
            number, hear = self.containers.popitem()
            hear(ChildGone(number), ())

    def _read(self) -> None:
        for message, descriptors in self._channel.receive():
            if isinstance(message, SupervisorReady):
                if not self._ready.done():
                    self._ready.set_result(message)
            elif (hear := self.containers.get(message.number)) is not None:
                if isinstance(message, ChildGone):
                    del self.containers[message.number]
                hear(message, descriptors)
        if self._channel.ended:
            self._end()

    def _end(self) -> None:
        """Note that it has left, or was killed."""
        if not self._ended.is_set():
            self._ended.set()
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
            self._channel.drop()
            self._connection.close()
            if not self._ready.done():
                self._ready.set_result(None)
            self._on_death()

    def _flush(self) -> None:
        if self._channel.flush():
            self._loop.remove_writer(self._connection)
