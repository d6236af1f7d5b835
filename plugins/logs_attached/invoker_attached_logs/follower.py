"""Chunks of a container's output -> the logs of its activations, one after the other."""

import asyncio
import time
import weakref
from collections.abc import Callable, MutableSet, Sequence
from typing import Final

from invoker.config import Compat, LogsSettings
from invoker.contracts import LogExtractor, LogFollower, Logs
from invoker.entities.container import ContainerSpec, Stream
from invoker.entities.request import Request
from invoker.log_lines import LogLines
from invoker.sentinel import StreamCutter
from invoker.wire.messages import messages

OVERALL: Final = 20
"""Logs that keep coming are waited for at most this many times as long as logs that don't."""
PASSES: Final = 2
"""Turns the event loop gets before logs are given up: one to read what is in the pipe, one to hand it on."""

FACTOR: Final = 10
"""Silence of so many times the worst that has lately been is no delay any more."""
WINDOW: Final = 30.0
"""Seconds for which the worst is remembered, at least; at most twice as long."""

_STDOUT: Final = Stream.STDOUT
_NOTHING: Final = Logs(())


class AttachedLogs(LogExtractor):
    """Takes logs out of what containers print: reads all of it, keeps what belongs to an activation."""

    def __init__(
        self, compat: Compat, clock: Callable[[], int] = time.time_ns, *, timeout: float = LogsSettings().timeout
    ) -> None:
        """Be ready. `timeout` is how long the core waits for logs before it gives a container up."""
        self._compat = compat
        self._clock = clock
        self._delay = OutputDelay(timeout)

    def follow(self, spec: ContainerSpec) -> "Follower":
        """Return the follower of a container that is about to be created."""
        sentinelled = spec.runtime.sentinelled_logs
        return Follower(self._compat, self._delay, sentinelled=sentinelled, clock=self._clock)


class Follower(LogFollower):
    """Follows one container. Output is pushed into it, so there is no queue, and nothing that could stall.

    Where an activation ends is seen by its sentinels. Those that run at the same time can't be told apart (spec
    9.11.12), so that none of them has logs; as many sentinels as they still owe when the next one begins are passed by.
    """

    def __init__(
        self, compat: Compat, delay: "OutputDelay", *, sentinelled: bool, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._delay = delay
        self._texts = messages(compat)
        self._mute_at_zero = compat == "openwhisk"  # spec 9.11.11, and 9.11.18 for the other one
        self._sentinelled = sentinelled
        self._stdout = StreamCutter(sentinelled=sentinelled)
        self._stderr = StreamCutter(sentinelled=sentinelled)
        self._lines = LogLines(self._texts.logs_truncated, clock)
        self._begun = False
        self._behind = False  # when the activation began, sentinels of an earlier one were on their way
        self._clean = False  # when the next activation begins, no sentinel of an earlier one is on its way
        self._muted = False
        self._shared = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None  # of the one task in `settled`
        self._since = 0.0  # the loop's time at which the wait began, while there is a waiter
        self._heard = 0.0  # that of the last chunk since then
        self._silence = 0.0  # seconds after which the wait for sentinels was given up
        self._given_up = 0  # bytes of lines that could not be attributed after all
        if sentinelled:  # the end of others' output is not seen
            delay.watch(self)

    @property
    def dropped_bytes(self) -> int:
        """Bytes that belonged to no activation, or to several, since the container was created."""
        return self._stdout.dropped + self._stderr.dropped + self._given_up

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

    def begin(self, request: Request, limit: int) -> None:  # noqa: ARG002 (all are alike here)
        """Begin an activation that may log `limit` bytes, formatted, newlines excluded (spec 9.11.17)."""
        if self._clean:
            self._stdout.restart()
            self._stderr.restart()
        else:
            self._begin_anew()
        self._lines.begin(limit)
        self._muted = limit == 0 and self._mute_at_zero
        if self._muted:
            self._lines.mute()
        if self._lines.full:
            self._drain()

    def join(self, request: Request) -> None:  # noqa: ARG002 (all are alike here)
        """Begin another activation beside the present one; from here to `end` all output is dropped.

        Whoever waits is told to go on, for there is nothing to wait for.
        """
        self._clean = False
        self._shared = True
        self._muted = True
        self._given_up += self._lines.give_up()
        self._stdout.join()
        self._stderr.join()
        if self._waiter is not None:
            _wake(self._waiter)

    async def settled(self, timeout: float) -> bool:  # noqa: ASYNC109 (quiet time, not the time of the call)
        """Wait for both sentinels, until nothing has come for `timeout` seconds; at most 20 times as long.

        Where the end of output is late everywhere, silence is given more time (see `OutputDelay`). Returns at once when
        the container is gone, and when activations share it. At most one task may wait.
        """
        if self._stdout.sentinels and self._stderr.sentinels:
            return True
        if not self._over():
            await self._quiet(timeout)
        return self._shared or self._complete()

    def end(self, *, expected: bool, error: str | None = None) -> Logs:
        """Close the activation. Unfinished lines are shown only if its end has not been seen on their stream.

        A container whose sentinels are late is used again, one that still owes those of the activation before is not.
        """
        complete = self._stdout.sentinels > 0 and self._stderr.sentinels > 0
        reusable = not (self._stdout.forged or self._stderr.forged)
        if not complete or not self._sentinelled:
            reusable = reusable and not (self._behind and (self._stdout.owed or self._stderr.owed))
            complete = self._stop()
        if not self._muted and error is not None:
            for text in self._texts.failed_logs(error, awaited=expected, complete=complete or not self._sentinelled):
                self._lines.note(text)
        elif expected and not complete:
            if not self._muted:
                self._lines.note(self._texts.log_failure)
            self._delay.note_given_up(self._silence, self._heard + self._silence)
        lines = self._lines.taken()
        return Logs(lines, complete, reusable) if lines or not complete or not reusable else _NOTHING

    def _begin_anew(self) -> None:
        """Begin the first activation, or one after those whose output may still be on its way."""
        self._behind = self._begun and self._stdout.restart_behind() + self._stderr.restart_behind() > 0
        self._begun = True
        self._clean = not self._behind
        self._shared = False

    def _complete(self) -> bool:
        return self._stdout.sentinels > 0 and self._stderr.sentinels > 0

    def _keep(self, stream: str, texts: Sequence[str]) -> None:
        self._lines.add(stream, texts)
        if self._lines.full:
            self._drain()

    def _drain(self) -> None:
        self._stdout.drain()
        self._stderr.drain()

    def _stop(self) -> bool:
        """Nothing more will be said: show what was being said. Return whether the logs are complete all the same."""
        if self._shared:
            return True
        for stream, cutter in (("stdout", self._stdout), ("stderr", self._stderr)):
            if texts := cutter.rest():
                self._lines.add(stream, texts)
            cutter.stop()
        self._clean = not self._sentinelled
        return self._complete()

    async def _quiet(self, timeout: float) -> None:  # noqa: ASYNC109 (see `settled`)
        """Return when the sentinels are there, the container is gone, or the wait has been long enough."""
        loop = asyncio.get_running_loop()
        self._since = heard = self._heard = loop.time()
        due = heard + timeout
        latest = heard + OVERALL * timeout
        while True:
            await self._signal(loop, min(due, latest))
            if self._over():
                break
            now = loop.time()
            if self._heard != heard:
                heard = self._heard
                due = heard + timeout
            elif due <= now and (due := self._extended(due, timeout, now)) <= now:
                self._silence = now - heard
                return
            if now >= latest:
                return
        if self._heard - self._since > self._delay.notable and self._complete():
            self._delay.note(self._heard - self._since, self._heard)

    async def _signal(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Return when it is over, or at `due`; then a busy loop has had the time to read what is in the pipe."""
        self._waiter = loop.create_future()
        alarm = loop.call_at(due, _wake, self._waiter)
        try:
            await self._waiter
            if not self._over():
                for _ in range(PASSES):
                    await asyncio.sleep(0)
        finally:
            alarm.cancel()
            self._waiter = None

    def _extended(self, due: float, timeout: float, now: float) -> float:
        """Return until when silence may last, though it has lasted until `due`."""
        if timeout < self._delay.timeout or not self._sentinelled:
            return due
        until = self._heard + self._delay.allowance(now)
        if due == self._heard + timeout:  # the first time: while we, or the whole machine, were held up, nothing came
            until = max(until, now + (now - due))
        return until

    @property
    def waiting_since(self) -> float | None:
        """The loop's time at which the wait for the end of output began; `None` while there is none."""
        return None if self._waiter is None else self._since

    def _over(self) -> bool:
        return self._closed or self._shared or self._complete()

    def _notice(self, waiter: asyncio.Future[None]) -> None:
        self._heard = waiter.get_loop().time()
        if self._complete():
            _wake(waiter)


class OutputDelay:
    """How late the end of output has lately been, over all containers: what silence means depends on it.

    Output goes through other processes, such as a container engine's, and comes late when they have much to do: with 64
    clients on two cores sentinels were up to 0.1 s behind the reply, and 0.22 s when containers were started and paused
    beside, where the median was 1 µs. A fixed time limit would destroy healthy containers just then.

    Shared by all followers of an extractor. `timeout` is the silence after which output is given up at rest.

    Shorter waits than that don't decide about a container, so they are not stretched.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.notable = timeout / FACTOR
        """Seconds; less makes no difference."""
        self._worst = 0.0  # of this window
        self._before = 0.0  # of the window before
        self._window_end = 0.0
        self._all: MutableSet[Follower] = weakref.WeakSet()

    def watch(self, follower: "Follower") -> None:
        """Look at this one too, as long as it lives."""
        self._all.add(follower)

    def note(self, seconds: float, now: float) -> None:
        """Note that output was complete so many seconds after it was waited for."""
        self._turn(now)
        self._worst = max(self._worst, seconds)

    def note_given_up(self, seconds: float, now: float) -> None:
        """Note that output was not complete after so many seconds of silence: the next wait is twice as long."""
        self.note(2 * seconds / FACTOR, now)

    def allowance(self, now: float) -> float:
        """Return the seconds of silence that don't mean yet that nothing will come.

        If others have been waiting for half the timeout, the way is slow for all of them. Who asks isn't waiting.
        """
        self._turn(now)
        worst = max(self._worst, self._before)
        if any(self._is_late(each, now) for each in self._all):
            worst = max(worst, self.timeout / 2)
        return max(self.timeout, FACTOR * worst)

    def _is_late(self, follower: "Follower", now: float) -> bool:
        since = follower.waiting_since
        return since is not None and now - since >= self.timeout / 2

    def _turn(self, now: float) -> None:
        if now >= self._window_end:
            self._before = self._worst if now < self._window_end + WINDOW else 0.0
            self._worst = 0.0
            self._window_end = now + WINDOW


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
