"""The machine: what it is, which process runs on which core, and what a process has used. Linux."""

import os
import platform
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
"""Where `-m bench` is found."""

ALL_CORES: Final = frozenset(os.sched_getaffinity(0))
INVOKER_CORE: Final = min(ALL_CORES)
"""The invoker and nothing else."""
LOAD_CORE: Final = max(ALL_CORES)
"""The load generator, the supervisor and every action proxy; with one core it is the same."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_CPU_CLOCK: Final = 2
"""The kernel's CPUCLOCK_SCHED: user and system time of all threads of a process together."""


def description() -> dict[str, str]:
    """Return what figures depend on."""
    packages = ("uvloop", "httptools", "msgspec", "aiohttp")
    return {
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "sqlite": sqlite3.sqlite_version,
        "load average": f"{os.getloadavg()[0]:.2f}",
        "pinning": f"invoker on core {INVOKER_CORE}; load generator, supervisor and action proxies on core {LOAD_CORE}",
    }


def _cpu_model() -> str:
    for text in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run the block, and whatever is started in it for good, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(pid: int, core: int) -> None:
    """Move a process with all its threads; those it starts later follow."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process: `utime + stime` of /proc/<pid>/stat, in nanoseconds in place of ticks."""
    return time.clock_gettime_ns((~pid << 3) | _CPU_CLOCK)


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def children(pid: int) -> list[int]:
    """Return the child processes of a process that live, zombies left out."""
    return [child for child, (parent, state) in _processes().items() if parent == pid and state != "Z"]


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    found = children(pid)
    return found + [below for child in found for below in descendants(child)]


def marked(mark: str) -> list[int]:
    """Return the processes, other than this one, that have `mark` on their command line or in their environment."""
    found = []
    for pid in _processes():
        try:
            told = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it ended
            continue
        if mark.encode() in told and pid != os.getpid():
            found.append(pid)
    return found


def _processes() -> dict[int, tuple[int, str]]:
    """Return each process's parent and state."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended
            continue
        state, parent = text[text.rindex(")") + 2 :].split()[:2]
        found[int(entry.name)] = (int(parent), state)
    return found


def require_linux() -> None:
    """Say so where nothing of this works."""
    if sys.platform != "linux":
        raise SystemExit("the benchmarks read /proc and pin processes: they need Linux")
