"""How late the end of output has lately been, over all containers: what silence means depends on it.

Output goes through other processes, such as a container engine's, and comes late when they have much to do: with 64
clients on two cores sentinels were up to 0.1 s behind the reply, and 0.22 s when containers were started and paused
beside, where the median was 1 µs. A fixed time limit would destroy healthy containers just then.
"""

import weakref
from collections.abc import MutableSet
from typing import Final, Protocol

FACTOR: Final = 10
"""Silence of so many times the worst that has lately been is no delay any more."""
WINDOW: Final = 30.0
"""Seconds for which the worst is remembered, at least; at most twice as long."""


class Waiting(Protocol):
    """Somebody who may be waiting for the end of output."""

    @property
    def waiting_since(self) -> float | None:
        """The event loop's time at which the wait began; `None` for who isn't waiting now."""
        ...


class Lateness:
    """Shared by all followers of an extractor. `timeout` is the silence after which output is given up at rest.

    Shorter waits than that don't decide about a container, so they are not stretched.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.notable = timeout / FACTOR
        """Seconds; less makes no difference."""
        self._worst = 0.0  # of this window
        self._before = 0.0  # of the window before
        self._window_end = 0.0
        self._all: MutableSet[Waiting] = weakref.WeakSet()

    def watch(self, waiting: Waiting) -> None:
        """Look at this one too, as long as it lives."""
        self._all.add(waiting)

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

    def _is_late(self, waiting: Waiting, now: float) -> bool:
        since = waiting.waiting_since
        return since is not None and now - since >= self.timeout / 2

    def _turn(self, now: float) -> None:
        if now >= self._window_end:
            self._before = self._worst if now < self._window_end + WINDOW else 0.0
            self._worst = 0.0
            self._window_end = now + WINDOW
