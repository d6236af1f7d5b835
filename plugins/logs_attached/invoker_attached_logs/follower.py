"""Chunks of a container's output -> the logs of its activations, one after the other."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from invoker.config import Compat
from invoker.contracts import Logs
from invoker.entities.container import ContainerSpec, Stream
from invoker.log_lines import LogLines
from invoker.sentinel import StreamCutter
from invoker.wire.messages import messages

OVERALL: Final = 20
"""Logs that keep coming are waited for at most this many times as long as logs that don't."""
PASSES: Final = 2
"""Turns the event loop gets before logs are given up: one to read what is in the pipe, one to hand it on."""

_STDOUT: Final = Stream.STDOUT
_NOTHING: Final = Logs(())


class AttachedLogs:
    """Takes logs out of what containers print: reads all of it, keeps what belongs to an activation."""

    def __init__(self, compat: Compat, clock: Callable[[], int] = time.time_ns) -> None:
        self._compat = compat
        self._clock = clock

    def follow(self, spec: ContainerSpec) -> "Follower":
        """Return the follower of a container that is about to be created."""
        return Follower(self._compat, sentinelled=spec.runtime.sentinelled_logs, clock=self._clock)


class Follower:
    """Follows one container. Output is pushed into it, so there is no queue, and nothing that could stall.

    Where an activation ends is seen by its sentinels, so the activations must come one at a time. Those that share
    a container can't be told apart (spec 9.11.12).
    """

    def __init__(self, compat: Compat, *, sentinelled: bool, clock: Callable[[], int] = time.time_ns) -> None:
        self._texts = messages(compat)
        self._mute_at_zero = compat == "openwhisk"  # spec 9.11.11, and 9.11.18 for the other one
        self._sentinelled = sentinelled
        self._stdout = StreamCutter(sentinelled=sentinelled)
        self._stderr = StreamCutter(sentinelled=sentinelled)
        self._lines = LogLines(self._texts.logs_truncated, clock)
        self._begun = False
        self._muted = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None  # of the one task in `settled`
        self._heard = 0.0  # the loop's time of the last chunk, while there is a waiter

    @property
    def dropped_bytes(self) -> int:
        """Bytes that came after a sentinel and before the next activation, since the container was created."""
        return self._stdout.dropped + self._stderr.dropped

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take what came out, all of it; keep at most what the activation may log."""
        if stream is _STDOUT:
            if texts := self._stdout.take(chunk):
                self._keep("stdout", texts)
        elif texts := self._stderr.take(chunk):
            self._keep("stderr", texts)
        if self._waiter is not None:
            self._notice(self._waiter)

    def closed(self) -> None:
        """The container is gone. What it printed last, without a line end, is its last line."""
        self._closed = True
        if texts := self._stdout.finish():
            self._keep("stdout", texts)
        if texts := self._stderr.finish():
            self._keep("stderr", texts)
        if self._waiter is not None:
            _wake(self._waiter)

    def begin(self, limit: int) -> None:
        """Begin an activation that may log `limit` bytes, formatted, newlines excluded (spec 9.11.17)."""
        if self._begun:
            self._stdout.restart()
            self._stderr.restart()
        self._begun = True
        self._lines.begin(limit)
        self._muted = limit == 0 and self._mute_at_zero
        if self._muted:
            self._lines.mute()
        if self._lines.full:
            self._drain()

    async def settled(self, timeout: float) -> bool:  # noqa: ASYNC109 (quiet time, not the time of the call)
        """Wait for both sentinels, until nothing has come for `timeout` seconds; at most 20 times as long.

        Returns at once when the container is gone. At most one task may wait.
        """
        if self._stdout.sentinels and self._stderr.sentinels:
            return True
        if not self._closed:
            await self._quiet(timeout)
        return self._complete()

    def end(self, *, expected: bool, failed: bool) -> Logs:
        """Close the activation. Unfinished lines are shown only if its end has not been seen on their stream."""
        complete = self._complete()
        if not complete or not self._sentinelled:
            self._stop()
        if self._muted:
            pass
        elif failed:  # sentinels were not awaited, so that nothing is said of them (spec T58)
            if self._texts.log_warning:
                self._lines.note(self._texts.log_warning)
        elif expected and not complete:
            self._lines.note(self._texts.log_failure)
        lines = self._lines.taken()
        reusable = not (self._stdout.forged or self._stderr.forged)
        return Logs(lines, complete, reusable) if lines or not complete or not reusable else _NOTHING

    def _complete(self) -> bool:
        return self._stdout.sentinels > 0 and self._stderr.sentinels > 0

    def _keep(self, stream: str, texts: Sequence[str]) -> None:
        self._lines.add(stream, texts)
        if self._lines.full:
            self._drain()

    def _drain(self) -> None:
        self._stdout.drain()
        self._stderr.drain()

    def _stop(self) -> None:
        """Nothing more will be said: show what was being said."""
        for stream, cutter in (("stdout", self._stdout), ("stderr", self._stderr)):
            if texts := cutter.rest():
                self._lines.add(stream, texts)
            cutter.stop()

    async def _quiet(self, timeout: float) -> None:  # noqa: ASYNC109 (see `settled`)
        """Return when the sentinels are there, the container is gone, or the wait has been long enough."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        latest = self._heard + OVERALL * timeout
        while not self._over():
            before = self._heard
            self._waiter = loop.create_future()
            alarm = loop.call_at(min(before + timeout, latest), _wake, self._waiter)
            try:
                await self._waiter
                for _ in range(PASSES):
                    if not self._over():  # a busy loop must not lose what is in the pipe
                        await asyncio.sleep(0)
            finally:
                alarm.cancel()
                self._waiter = None
            if self._heard == before or loop.time() >= latest:
                return

    def _over(self) -> bool:
        return self._closed or self._complete()

    def _notice(self, waiter: asyncio.Future[None]) -> None:
        self._heard = waiter.get_loop().time()
        if self._complete():
            _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
