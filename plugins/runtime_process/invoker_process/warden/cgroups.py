"""Control groups that limit memory: version 2 where the group was delegated to us, version 1 where we may make some.

Groups are made below the one that the invoker is in, so that whatever limits the invoker goes on limiting its actions.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

PROC: Final = Path("/proc")
LEAF: Final = "functions-invoker"
"""Version 2 allows processes only in leaves: where the invoker moves to, out of the way of its actions' groups."""


class Unusable(Exception):
    """No group can be made here; the message says why."""


class Hierarchy(Protocol):
    """One version of control groups, and the place where ours are made."""

    path: Path
    """The group that holds those of this warden's containers."""

    def account(self, name: str, limit: int) -> "CgroupAccount":
        """Make a group of at most `limit` bytes.

        Raises:
            OSError: it can't be made.
        """
        ...


def delegated(name: str, invoker: int, proc: Path = PROC) -> Hierarchy:
    """Make the group `name` that will hold those of this warden's containers.

    Raises:
        Unusable: there is nothing to make it in.
    """
    try:
        mounts = _mounts(proc)
        for line in (proc / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(",") and (mount := mounts.get("memory")) is not None:
                return Version1(mount / path.lstrip("/") / name)
        for line in (proc / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers and (mount := mounts.get("")) is not None:
                return Version2(mount / path.lstrip("/"), name, invoker)
    except OSError as error:
        raise Unusable(f"{error.filename or proc}: {error.strerror}") from error
    raise Unusable("this system has no control groups")


class Version1:
    """`memory.limit_in_bytes`. An event tells that the kernel found no memory in the group."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def account(self, name: str, limit: int) -> "CgroupAccount":
        """See `Hierarchy`."""
        path = self.path / name
        path.mkdir()
        event = -1
        try:
            (path / "memory.limit_in_bytes").write_text(str(limit))
            with contextlib.suppress(OSError):  # absent where swap isn't accounted
                (path / "memory.memsw.limit_in_bytes").write_text(str(limit))
            event = _notified(path)
        except OSError:
            if event >= 0:
                os.close(event)
            path.rmdir()
            raise
        # A single-threaded process that moves itself as a thread needs no lock of the whole system: 0.1 ms, not 10.
        return CgroupAccount(path, Names("tasks", "memory.max_usage_in_bytes", "memory.oom_control"), event)


class Version2:
    """`memory.max`. The kernel kills a whole group at once."""

    def __init__(self, own: Path, name: str, invoker: int) -> None:
        base = own.parent if own.name == LEAF else own
        controllers = (base / "cgroup.controllers").read_text().split()
        if "memory" not in controllers:
            raise Unusable(f"{base} has no memory controller")
        if not os.access(base / "cgroup.subtree_control", os.W_OK):
            raise Unusable(f"{base} is not delegated to the invoker")
        self.path = base / name
        _step_aside(base, invoker)
        try:
            (base / "cgroup.subtree_control").write_text("+memory")
        except OSError:
            _move(base, (invoker, os.getpid()))
            remove(base / LEAF)
            raise
        self.path.mkdir()
        (self.path / "cgroup.subtree_control").write_text("+memory")

    def account(self, name: str, limit: int) -> "CgroupAccount":
        """See `Hierarchy`."""
        path = self.path / name
        path.mkdir()
        try:
            (path / "memory.max").write_text(str(limit))
            for setting, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with contextlib.suppress(OSError):  # absent without swap, and before Linux 4.19
                    (path / setting).write_text(value)
        except OSError:
            path.rmdir()
            raise
        return CgroupAccount(path, Names("cgroup.procs", "memory.peak", "memory.events"), None)


class Names(NamedTuple):
    """What a group's files are called."""

    entry: str
    """A process that writes 0 to it moves itself into the group."""
    peak: str
    kills: str
    """Has a line `oom_kill`."""


class CgroupAccount:
    """The group of one container. See `Account` for what its methods promise."""

    due = None

    def __init__(self, path: Path, names: "Names", event: int | None) -> None:
        self._path = path
        self._entry = str(path / names.entry)
        self._peak = path / names.peak
        self._kills = path / names.kills
        self.descriptor = event

    @property
    def peak(self) -> int | None:
        """See `Account`; `None` where the kernel is older than the file that tells it (5.19 for version 2)."""
        try:
            return int(self._peak.read_text())
        except OSError:
            return None

    def look(self) -> int | None:
        """See `Account`."""
        return self.peak

    def enter(self) -> None:
        """See `Account`."""
        file = os.open(self._entry, os.O_WRONLY | os.O_CLOEXEC)  # `write_text` would take 2 ms after a fork
        os.write(file, b"0")

    def begin(self, pid: int) -> None:
        """See `Account`. The process has moved itself already."""

    def exhausted(self) -> bool:
        """See `Account`."""
        told = False
        if self.descriptor is not None:
            with contextlib.suppress(BlockingIOError):
                told = os.eventfd_read(self.descriptor) > 0
        return told or self._killed() > 0

    def close(self) -> None:
        """See `Account`."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
        remove(self._path)

    def _killed(self) -> int:
        try:
            lines = self._kills.read_text().splitlines()
        except OSError:
            return 0
        return sum(int(value) for key, value in map(str.split, lines) if key == "oom_kill")


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


def _mounts(proc: Path) -> dict[str, Path]:
    """Return where the memory controller of version 1 is mounted (`memory`), and version 2 (the empty name)."""
    found: dict[str, Path] = {}
    for line in (proc / "self/mountinfo").read_text().splitlines():
        place, _, kind = line.partition(" - ")
        file_system, _, options = kind.split(" ", 2)
        root, target = place.split()[3:5]
        if root != "/":  # a part of the hierarchy is mounted: our path in it doesn't start there
            continue
        if file_system == "cgroup" and "memory" in options.split(","):
            found.setdefault("memory", Path(target))
        elif file_system == "cgroup2":
            found.setdefault("", Path(target))
    return found


def _notified(path: Path) -> int:
    """Return a descriptor that becomes readable when the group is out of memory."""
    event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    control = os.open(path / "memory.oom_control", os.O_RDONLY)
    try:
        (path / "cgroup.event_control").write_text(f"{event} {control}")
    finally:
        os.close(control)
    return event


def _step_aside(base: Path, invoker: int) -> None:
    """Move the invoker and its warden into a leaf of their own; nobody else may be in the group."""
    ours = (invoker, os.getpid())
    others = [int(pid) for pid in (base / "cgroup.procs").read_text().split() if int(pid) not in ours]
    if others:
        raise Unusable(f"{base} has processes that are not the invoker's")
    _move(base / LEAF, ours)


def _move(group: Path, processes: Sequence[int]) -> None:
    group.mkdir(exist_ok=True)
    for pid in processes:
        (group / "cgroup.procs").write_text(str(pid))
