"""How much memory a container has, and whether that is too much: a control group's word, or samples of our own."""

from collections.abc import Callable
from typing import Final, Protocol

from invoker_process.warden.processes import Processes, tree

SHORTEST: Final = 0.002
"""Seconds between samples of a container that is about to reach its limit."""
FORESIGHT: Final = 2
"""A container may grow this many times as fast as it just did without being missed."""
NEAR: Final = 8
"""Within this part of the limit, samples are taken that many times as often, whatever the growth."""


class Account(Protocol):
    """Watches the memory of one container. Belongs to its ward."""

    @property
    def peak(self) -> int | None:
        """Bytes it had at most, as far as was seen."""
        ...

    def look(self) -> int | None:
        """Return the peak, the present moment included."""
        ...

    @property
    def descriptor(self) -> int | None:
        """Readable when `exhausted` should be asked; `None` if that is never so."""
        ...

    @property
    def due(self) -> float | None:
        """Clock's time when `exhausted` should be asked next; `None` if it need not be."""
        ...

    def enter(self) -> None:
        """Be called in the container's first process, before it becomes what it will be."""
        ...

    def begin(self, pid: int) -> None:
        """Learn which process that is."""
        ...

    def exhausted(self) -> bool:
        """Look, and tell whether the limit was reached at any time."""
        ...

    def close(self) -> None:
        """Give back what it holds. No process of the container is left."""
        ...


class SampledAccount:
    """Looks at the resident memory of the whole process tree, daemons included.

    What is resident is cheap to read but counts pages in each process that shares them, as forks do. So it is only the
    first question: above the limit, each process' proportional share is added up before anybody is killed.
    """

    descriptor = None

    def __init__(self, processes: Processes, limit: int, interval: float, clock: Callable[[], float]) -> None:
        self._processes = processes
        self._limit = limit
        self._interval = interval
        self._clock = clock
        self._pid = 0
        self._exhausted = False
        self._last = 0
        self._last_at = 0.0
        self.peak: int | None = None
        self.due: float | None = None

    def enter(self) -> None:
        """See `Account`."""

    def begin(self, pid: int) -> None:
        """See `Account`."""
        self._pid = pid
        self._last_at = self._clock()
        self.due = self._last_at + self._interval

    def exhausted(self) -> bool:
        """See `Account`. Once it was, there is nothing more to look for."""
        if self.due is not None and not self._exhausted and (now := self._clock()) >= self.due:
            used = self._used()
            self.peak = max(used, self.peak or 0)
            self._exhausted = used > self._limit
            self.due = None if self._exhausted else now + self._pause(used, now)
            self._last, self._last_at = used, now
        return self._exhausted

    def look(self) -> int | None:
        """See `Account`."""
        self.peak = max(self._used(), self.peak or 0)
        return self.peak

    def close(self) -> None:
        """See `Account`."""
        self.due = None

    def _used(self) -> int:
        members = list(tree(self._processes, self._pid))
        resident = sum(map(self._processes.resident, members))
        return resident if resident <= self._limit else sum(map(self._processes.proportional, members))

    def _pause(self, used: int, now: float) -> float:
        """Return how long nothing can happen, judged by what just happened; a fast allocator fills 2 GB a second."""
        room = self._limit - used
        growth = (used - self._last) / max(now - self._last_at, SHORTEST)
        pause = room / (FORESIGHT * growth) if growth > 0 else self._interval
        longest = self._interval / NEAR if room < self._limit / NEAR else self._interval
        return min(max(pause, SHORTEST), longest)
