"""Control groups that limit containers: version 2 where ours was delegated to us, version 1 where we may make some.

Groups are made below the one that the invoker is in, so that whatever limits the invoker goes on limiting its actions.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from invoker_process.sampling import contents

PROC: Final = Path("/proc")
LEAF: Final = "functions-invoker"
"""Version 2 allows processes only in leaves: where the invoker moves to, out of the way of its actions' groups."""


class NoControlGroups(Exception):
    """No group can be made here; the message says why."""


class _Files(NamedTuple):
    """What the files of a version are called."""

    entry: str  # a process that writes 0 to it moves itself into the group
    limit: str
    peak: str  # absent where the kernel is older (5.19 for version 2)
    kills: str  # has a line `oom_kill`
    optional: Sequence[tuple[str, str]]  # with what is written to them; an empty text stands for the limit


# A single-threaded process that moves as a thread (`tasks`) needs no lock of the whole system: 0.1 ms, not 10.
_VERSION_1: Final = _Files(
    *("tasks", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
    (("memory.memsw.limit_in_bytes", ""),),  # absent where swap isn't accounted
)
_VERSION_2: Final = _Files(
    *("cgroup.procs", "memory.max", "memory.peak", "memory.events"),
    (("memory.swap.max", "0"), ("memory.oom.group", "1")),  # absent without swap, and before Linux 4.19
)


class ControlGroups:
    """Where those of this supervisor's containers are made: in version 1 there is a tree for each controller."""

    def __init__(self, memory: Path, pids: Path | None, files: _Files) -> None:
        self.paths = [memory] if pids in (None, memory) else [memory, pids]
        self.limits_processes = pids is not None
        self._files = files

    def make(self, number: int, memory: int, processes: int) -> "ContainerGroup":
        """Make a group for a container of at most `memory` bytes, and so many processes and threads, or `OSError`."""
        group = ContainerGroup([path / str(number) for path in self.paths], self._files)
        try:
            group.limit(memory, processes if self.limits_processes else None)
        except OSError:
            group.close()
            raise
        return group


class ContainerGroup:
    """The group of one container; in version 1 one for each controller."""

    def __init__(self, paths: Sequence[Path], files: _Files) -> None:
        """The first of `paths` limits memory, the last processes, if that is limited."""
        self._paths = paths
        self._files = files
        self._exhausted = False
        self.event: int | None = None  # readable when memory is exhausted, in version 1, which kills one process only

    def limit(self, memory: int, processes: int | None) -> None:
        """Make it, with its limits, or `OSError`."""
        for path in self._paths:
            path.mkdir()
        path, files = self._paths[0], self._files
        (path / files.limit).write_text(str(memory))
        for name, value in files.optional:
            with contextlib.suppress(OSError):
                (path / name).write_text(value or str(memory))
        if processes is not None:
            (self._paths[-1] / "pids.max").write_text(str(processes))
        if files is _VERSION_1:
            self.event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            with (path / files.kills).open() as control:
                (path / "cgroup.event_control").write_text(f"{self.event} {control.fileno()}")

    def enter(self) -> None:
        """Move this process into the group, before it becomes what it will be."""
        for path in self._paths:  # `write_text` would take 2 ms after a fork
            os.write(os.open(f"{path}/{self._files.entry}", os.O_WRONLY | os.O_CLOEXEC), b"0")

    def peak(self) -> int | None:
        """Return the bytes it had at most; `None` if the kernel doesn't tell."""
        told = contents(f"{self._paths[0]}/{self._files.peak}")
        return int(told) if told else None

    def exhausted(self) -> bool:
        """Tell whether its memory was exhausted at any time."""
        if self.event is not None:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.event)
                self._exhausted = True  # whoever is killed now may be killed by us, which isn't counted
        return self._exhausted or _count(self._paths[0] / self._files.kills, b"oom_kill") > 0

    def refused(self) -> bool:
        """Tell whether it was refused a process at any time."""
        return _count(self._paths[-1] / "pids.events", b"max") > 0

    def close(self) -> None:
        """Remove it: no process is left in it."""
        if self.event is not None:
            os.close(self.event)
            self.event = None
        for path in self._paths:
            remove(path)


def delegated(name: str, invoker: int, proc: Path = PROC) -> ControlGroups:
    """Make the group `name` that will hold those of this supervisor's containers, or `NoControlGroups`."""
    try:
        own = _own(proc)
        if "memory" in own:
            return _version1(own["memory"] / name, own["pids"] / name if "pids" in own else None)
        if "" in own:
            return _version2(own[""], name, (invoker, os.getpid()))
    except OSError as error:
        raise NoControlGroups(f"{error.filename or proc}: {error.strerror}") from error
    raise NoControlGroups("this system has no control groups")


def members(path: Path) -> set[int]:
    """Return the processes in a group and in those below it."""
    return {int(pid) for file in path.rglob("cgroup.procs") for pid in contents(str(file)).split()}


def remove(path: Path) -> None:
    """Remove a group and those below it, as far as they are empty."""
    with contextlib.suppress(OSError):
        for below in path.iterdir():
            if below.is_dir():
                remove(below)
        path.rmdir()


def _own(proc: Path) -> dict[str, Path]:
    """Return the groups that this process is in, by controller of version 1; that of version 2 has the empty name."""
    mounts: dict[str, Path] = {}
    for line in (proc / "self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        file_system, _, options = kind.split(" ", 2)
        root, target = mount.split()[3:5]
        if root == "/":  # else a part of the hierarchy is mounted: our path in it doesn't start there
            for controller in {"cgroup": options.split(","), "cgroup2": [""]}.get(file_system, ()):
                mounts.setdefault(controller, Path(target))
    own: dict[str, Path] = {}
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= {each: mounts[each] / path.lstrip("/") for each in controllers.split(",") if each in mounts}
    return own


def _version1(memory: Path, pids: Path | None) -> ControlGroups:
    memory.mkdir()
    try:
        if pids is not None:
            pids.mkdir()
    except OSError:  # only memory is ours to limit
        pids = None
    return ControlGroups(memory, pids, _VERSION_1)


def _version2(own: Path, name: str, ours: Sequence[int]) -> ControlGroups:
    base = own.parent if own.name == LEAF else own
    controllers = (base / "cgroup.controllers").read_text().split()
    if "memory" not in controllers:
        raise NoControlGroups(f"{base} has no memory controller")
    if not os.access(base / "cgroup.subtree_control", os.W_OK):
        raise NoControlGroups(f"{base} is not delegated to the invoker")
    if not {int(pid) for pid in (base / "cgroup.procs").read_text().split()} <= set(ours):
        raise NoControlGroups(f"{base} has processes that are not the invoker's")
    path = base / name
    wanted = " ".join(f"+{controller}" for controller in ("memory", "pids") if controller in controllers)
    _move(base / LEAF, ours)
    try:
        (base / "cgroup.subtree_control").write_text(wanted)
    except OSError:
        _move(base, ours)
        remove(base / LEAF)
        raise
    path.mkdir()
    (path / "cgroup.subtree_control").write_text(wanted)
    return ControlGroups(path, path if "pids" in controllers else None, _VERSION_2)


def _move(group: Path, processes: Sequence[int]) -> None:
    group.mkdir(exist_ok=True)
    for pid in processes:
        (group / "cgroup.procs").write_text(str(pid))


def _count(file: Path, key: bytes) -> int:
    """Return a number of a file that has a line for each."""
    return sum(int(value) for name, value in map(bytes.split, contents(str(file)).splitlines()) if name == key)
