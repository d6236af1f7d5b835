"""Samples of what a container uses, where no control group limits it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

SHORTEST: Final = 0.002
"""Seconds between samples of a container that is about to reach its limit."""
FORESIGHT: Final = 2
"""A container may grow this many times as fast as it just did without being missed."""
NEAR: Final = 8
"""Within this part of the limit, samples are taken that many times as often, whatever the growth."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_KILOBYTE: Final = 1024
_READ_AT_ONCE: Final = 1 << 16


class ProcessTable:
    """The processes of this machine. One that is gone has no children and no memory.

    A look at a Python process costs 10 µs, at Node.js with its 7 threads 35; a scan of all processes 600.
    """

    def __init__(self, *, listed: bool | None = None) -> None:
        """`listed` tells if the kernel lists children (`CONFIG_PROC_CHILDREN`); if not, all processes are scanned."""
        self._listed = Path(f"/proc/self/task/{os.getpid()}/children").exists() if listed is None else listed

    def tree(self, pid: int) -> list[int]:
        """Return a process and all its descendants."""
        found = [pid]
        for one in found:  # which grows
            found += self.children(one)
        return found

    def children(self, pid: int) -> list[int]:
        """Return the direct children of a process, those that nobody has waited for included."""
        if not self._listed:
            import psutil  # noqa: PLC0415 (2 MB that the supervisor seldom needs)

            try:
                return [child.pid for child in psutil.Process(pid).children()]
            except psutil.Error:
                return []
        try:
            with os.scandir(f"/proc/{pid}/task") as threads:
                lists = [_read(f"{thread.path}/children") for thread in threads]
        except OSError:
            return []
        return [int(child) for each in lists for child in each.split()]

    def resident(self, pid: int) -> int:
        """Return the bytes it has resident: cheap, and counts what it shares with others in full."""
        fields = _read(f"/proc/{pid}/statm").split()
        return int(fields[1]) * _PAGE if fields else 0

    def proportional(self, pid: int) -> int:
        """Return the bytes it has resident or swapped out, of shared ones its share: exact, about 100 times dearer.

        A process that may not be looked into, such as a setuid one, counts as resident.
        """
        lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith((b"Pss:", b"SwapPss:"))]
        return sum(found) * _KILOBYTE if found else self.resident(pid)


class Sampler:
    """Looks at the resident memory of the whole process tree, daemons included.

    What is resident is cheap to read but counts pages in each process that shares them, as forks do. So it is only the
    first question: above the limit, each process' proportional share is added up before anybody is killed.
    """

    def __init__(self, table: ProcessTable, pid: int, limit: int, interval: float, clock: Callable[[], float]) -> None:
        self._table = table
        self._pid = pid
        self._limit = limit
        self._interval = interval
        self._clock = clock
        self._exhausted = False
        self._last = 0
        self._last_at = clock()
        self._peak = 0
        self.due: float | None = self._last_at + interval
        """Clock's time when `exhausted` should be asked next; `None` if it need not be."""

    def exhausted(self) -> bool:
        """Look if that is due, and tell whether the limit was exceeded at any time; once it was, nothing is due."""
        if self.due is not None and (now := self._clock()) >= self.due:
            used = self._used()
            self._peak = max(used, self._peak)
            self._exhausted = used > self._limit
            self.due = None if self._exhausted else now + self._pause(used, now)
            self._last, self._last_at = used, now
        return self._exhausted

    def peak(self, *, now: bool) -> int | None:
        """Return the bytes it had at most, as far as was seen; with `now`, the present moment included."""
        if now:
            self._peak = max(self._used(), self._peak)
        return self._peak or None

    def _used(self) -> int:
        members = self._table.tree(self._pid)
        resident = sum(map(self._table.resident, members))
        return resident if resident <= self._limit else sum(map(self._table.proportional, members))

    def _pause(self, used: int, now: float) -> float:
        """Return how long nothing can happen, judged by what just happened; a fast allocator fills 2 GB a second."""
        room = self._limit - used
        growth = (used - self._last) / max(now - self._last_at, SHORTEST)
        pause = room / (FORESIGHT * growth) if growth > 0 else self._interval
        longest = self._interval / NEAR if room < self._limit / NEAR else self._interval
        return min(max(pause, SHORTEST), longest)


def _read(path: str) -> bytes:
    """Return what a file of `/proc` says; nothing if its process is gone or not ours to see."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return b"".join(iter(lambda: os.read(descriptor, _READ_AT_ONCE), b""))  # long ones come a page at a time
    except OSError:  # the process went while we were looking
        return b""
    finally:
        os.close(descriptor)
