"""Samples of what a container uses, where no control group limits it."""

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Final

MEMORY: Final = "memory"
PROCESSES: Final = "processes"
"""What is limited: bytes; processes and threads together, as control groups count."""
SHORTEST: Final = 0.002
"""Seconds between samples of a container that is about to reach its limit."""
FORESIGHT: Final = 2
"""A container may grow this many times as fast as it just did without being missed."""
NEAR: Final = 8
"""Within this part of the limit, samples are taken that many times as often, whatever the growth."""
UNSURE: Final = 5.0
"""Seconds for which it may be unknown whether a container whose processes change has more memory than its limit."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_KILOBYTE: Final = 1024


class Sampler:
    """Looks at what the whole process tree of a container uses, daemons included.

    What is resident is cheap to read but counts pages in each process that shares them, as forks do: above the limit,
    each process' proportional share is added up before anybody is killed. Who asks for that waits for a process which
    is forking, of a bomb for seconds (seen). So those are asked that have been the same for a while, others only late.
    """

    def __init__(
        self, pid: int, limits: Mapping[str, int], interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`limits` has those that nobody else keeps: of `MEMORY`, `PROCESSES`, or both."""
        self._pid = pid
        self._limits = limits
        self._interval = interval
        self._clock = clock
        self._exceeded = ""
        self._last = dict.fromkeys(limits, 0)
        self._last_at = self._sure_at = self._changed_at = clock()
        self._members = [pid]
        self._peak = 0
        self.due: float | None = self._last_at + interval  # clock's time when `exceeded` should be asked next, if ever

    def exceeded(self) -> str:
        """Look if that is due, and return the limit that was exceeded at any time; once one was, nothing is due."""
        if self.due is not None and (now := self._clock()) >= self.due:
            used = self._used()
            self._exceeded = next((what for what, limit in self._limits.items() if used[what] > limit), "")
            pause = min(self._pause(limit, used[what], self._last[what], now) for what, limit in self._limits.items())
            self.due = None if self._exceeded else now + pause
            self._last, self._last_at = used, now
        return self._exceeded

    def peak(self) -> int | None:
        """Return the bytes of memory it had at most, as far as was seen, the present moment included."""
        self._used()
        return self._peak or None

    def _used(self) -> dict[str, int]:
        most = self._limits.get(PROCESSES, math.inf)
        members, tasks = tree(self._pid, most)
        used = {PROCESSES: tasks, MEMORY: 0}
        if MEMORY in self._limits and tasks <= most:
            used[MEMORY] = self._memory(members, self._limits[MEMORY], self._clock())
            self._peak = max(used[MEMORY], self._peak)
        return used

    def _memory(self, members: list[int], limit: int, now: float) -> int:
        """Return the bytes that processes have; the limit if it may be more."""
        if members != self._members:
            self._members, self._changed_at = members, now
        sizes = list(map(resident, members))
        if sum(sizes) <= limit:
            self._sure_at = now
            return sum(sizes)
        if len(members) == 1 or now >= min(self._changed_at + self._interval, self._sure_at + UNSURE):
            self._sure_at = now
            return sum(map(proportional, members))
        largest = max(sizes)
        return max(proportional(members[sizes.index(largest)]), limit) if largest > limit else limit

    def _pause(self, limit: int, used: int, last: int, now: float) -> float:
        """Return how long nothing can happen, judged by what just happened; a fast allocator fills 2 GB a second."""
        room = limit - used
        growth = (used - last) / max(now - self._last_at, SHORTEST)
        pause = room / (FORESIGHT * growth) if growth > 0 else self._interval
        longest = self._interval / NEAR if room < limit / NEAR else self._interval
        return min(max(pause, SHORTEST), longest)


def tree(pid: int, most: float = math.inf) -> tuple[list[int], int]:
    """Return a process and its descendants, with the number of all threads; once that is above `most`, no more."""
    found = [pid]
    tasks = 0
    for one in found:  # which grows
        threads, children = look(one)
        tasks += threads
        found += children
        if tasks > most:
            break
    return found, tasks


def look(pid: int) -> tuple[int, list[int]]:
    """Return how many threads a process has, and its direct children, those that nobody has waited for included.

    Costs 10 µs for a Python process, 35 for Node.js with its 7 threads. One that is gone has nothing.
    """
    try:
        with os.scandir(f"/proc/{pid}/task") as threads:
            lists = [contents(f"{thread.path}/children") for thread in threads]
    except OSError:
        return 0, []
    return len(lists), [int(child) for each in lists for child in each.split()]


def resident(pid: int) -> int:
    """Return the bytes it has resident: cheap, and counts what it shares with others in full."""
    fields = contents(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def proportional(pid: int) -> int:
    """Return the bytes it has resident or swapped out, of shared ones its share: exact, about 100 times dearer.

    A process that may not be looked into, such as a setuid one, counts as resident.
    """
    lines = contents(f"/proc/{pid}/smaps_rollup").splitlines()
    found = [int(line.split()[1]) for line in lines if line.startswith((b"Pss:", b"SwapPss:"))]
    return sum(found) * _KILOBYTE if found else resident(pid)


def contents(path: str) -> bytes:
    """Return what a file of the kernel's says; nothing if what it is about is gone, or not ours to see."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return b"".join(iter(lambda: os.read(descriptor, 1 << 16), b""))  # long ones come a page at a time
    except OSError:  # the process went while we were looking
        return b""
    finally:
        os.close(descriptor)
