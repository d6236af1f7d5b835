"""Control groups that limit containers: version 2 where ours was delegated to us, version 1 where we may make some.

Groups are made below the one that the invoker is in, so that whatever limits the invoker goes on limiting its actions.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
LEAF: Final = "functions-invoker"
"""Version 2 allows processes only in leaves: where the invoker moves to, out of the way of its actions' groups."""


class NoControlGroups(Exception):
    """No group can be made here; the message says why."""


class _Files(NamedTuple):
    """What the files of a version are called."""

    entry: str
    """A process that writes 0 to it moves itself into the group."""
    memory: str
    """The limit, in bytes."""
    wishes: Sequence[tuple[str, str]]
    """Others and what is written to them, where the kernel has them; an empty text stands for the limit of memory."""
    peak: str
    """Absent where the kernel is older (5.19 for version 2)."""
    kills: str
    """Has a line `oom_kill`."""


# A single-threaded process that moves itself as a thread needs no lock of the whole system: 0.1 ms, not 10.
_VERSION_1: Final = _Files(
    "tasks",
    "memory.limit_in_bytes",
    (("memory.memsw.limit_in_bytes", ""),),  # absent where swap isn't accounted
    "memory.max_usage_in_bytes",
    "memory.oom_control",
)
_VERSION_2: Final = _Files(
    "cgroup.procs",
    "memory.max",
    (("memory.swap.max", "0"), ("memory.oom.group", "1")),  # absent without swap, and before Linux 4.19
    "memory.peak",
    "memory.events",
)


class ControlGroups:
    """Where those of this supervisor's containers are made."""

    def __init__(self, path: Path, files: _Files) -> None:
        self.path = path
        self._files = files

    def make(self, number: int, memory: int) -> "ContainerGroup":
        """Make a group for a container of at most `memory` bytes.

        Raises:
            OSError: it can't be made.
        """
        path = self.path / str(number)
        path.mkdir()
        group = ContainerGroup(path, self._files)
        try:
            (path / self._files.memory).write_text(str(memory))
            for name, value in self._files.wishes:
                with contextlib.suppress(OSError):
                    (path / name).write_text(value or str(memory))
            if self._files is _VERSION_1:
                group.notify()
        except OSError:
            group.close()
            raise
        return group

    def remove(self) -> None:
        """Remove them, as far as they are empty."""
        remove(self.path)


class ContainerGroup:
    """The group of one container."""

    def __init__(self, path: Path, files: _Files) -> None:
        self._path = path
        self._files = files
        self._entry = str(path / files.entry)
        self._told = False
        self.event: int | None = None
        """A descriptor that is readable when the group is out of memory; version 2 has none and kills a whole group."""

    def notify(self) -> None:
        """Have the kernel tell when the group is out of memory, for it kills only one process of it."""
        self.event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        control = os.open(self._path / self._files.kills, os.O_RDONLY)
        try:
            (self._path / "cgroup.event_control").write_text(f"{self.event} {control}")
        finally:
            os.close(control)

    def enter(self) -> None:
        """Move this process into the group, before it becomes what it will be."""
        file = os.open(self._entry, os.O_WRONLY | os.O_CLOEXEC)  # `write_text` would take 2 ms after a fork
        os.write(file, b"0")

    def peak(self) -> int | None:
        """Return the bytes it had at most; `None` if the kernel doesn't tell."""
        try:
            return int((self._path / self._files.peak).read_text())
        except OSError:
            return None

    def exhausted(self) -> bool:
        """Tell whether the limit was reached at any time."""
        if self.event is not None:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.event)
                self._told = True  # whoever is killed now may be killed by us, which isn't counted
        return self._told or _count(self._path / self._files.kills, "oom_kill") > 0

    def close(self) -> None:
        """Remove it: no process is left in it."""
        if self.event is not None:
            os.close(self.event)
            self.event = None
        remove(self._path)


def delegated(name: str, invoker: int, proc: Path = PROC) -> ControlGroups:
    """Make the group `name` that will hold those of this supervisor's containers.

    Raises:
        NoControlGroups: there is nothing to make it in.
    """
    try:
        own = _own(proc)
        if "memory" in own:
            groups = ControlGroups(own["memory"] / name, _VERSION_1)
            groups.path.mkdir()
            return groups
        if "" in own:
            return _version2(own[""], name, invoker)
    except OSError as error:
        raise NoControlGroups(f"{error.filename or proc}: {error.strerror}") from error
    raise NoControlGroups("this system has no control groups")


def members(path: Path) -> list[int]:
    """Return the processes in a group and in those below it."""
    found: list[int] = []
    for file in path.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found


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
        place, _, kind = line.partition(" - ")
        file_system, _, options = kind.split(" ", 2)
        root, target = place.split()[3:5]
        if root == "/":  # else a part of the hierarchy is mounted: our path in it doesn't start there
            for controller in {"cgroup": options.split(","), "cgroup2": [""]}.get(file_system, ()):
                mounts.setdefault(controller, Path(target))
    own: dict[str, Path] = {}
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= {each: mounts[each] / path.lstrip("/") for each in controllers.split(",") if each in mounts}
    return own


def _version2(own: Path, name: str, invoker: int) -> ControlGroups:
    base = own.parent if own.name == LEAF else own
    if "memory" not in (base / "cgroup.controllers").read_text().split():
        raise NoControlGroups(f"{base} has no memory controller")
    if not os.access(base / "cgroup.subtree_control", os.W_OK):
        raise NoControlGroups(f"{base} is not delegated to the invoker")
    ours = (invoker, os.getpid())
    if not {int(pid) for pid in (base / "cgroup.procs").read_text().split()} <= set(ours):
        raise NoControlGroups(f"{base} has processes that are not the invoker's")
    _move(base / LEAF, ours)
    try:
        (base / "cgroup.subtree_control").write_text("+memory")
    except OSError:
        _move(base, ours)
        remove(base / LEAF)
        raise
    groups = ControlGroups(base / name, _VERSION_2)
    groups.path.mkdir()
    (groups.path / "cgroup.subtree_control").write_text("+memory")
    return groups


def _move(group: Path, processes: Sequence[int]) -> None:
    group.mkdir(exist_ok=True)
    for pid in processes:
        (group / "cgroup.procs").write_text(str(pid))


def _count(file: Path, key: str) -> int:
    """Return a number of a file that has a line for each."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(value) for name, value in map(str.split, lines) if name == key)
