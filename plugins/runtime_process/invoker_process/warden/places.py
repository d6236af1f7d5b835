"""Where work directories are: one place for each warden, locked while it lives, swept by the next when it died.

A place is a directory `functions-invoker-…` below the one that the settings name. Its lock tells whether its warden
lives, whatever became of process numbers since. Every process of a container has the place's path in its environment,
unless it was started without one, which is how the daemons of a warden that was killed are found.
"""

import contextlib
import fcntl
import os
import select
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from invoker_process.warden import cgroups

PREFIX: Final = "functions-invoker-"
_LOCK: Final = "lock"
_GROUP: Final = "cgroup"
_PRIVATE: Final = 0o700
_PATIENCE: Final = 2000
"""Milliseconds for which a process that was sent SIGKILL is waited for."""
_ATTEMPTS: Final = 10


class Place:
    """This warden's place. It is locked until the process ends."""

    def __init__(self, base: Path) -> None:
        """Make a place below `base`, which is made if need be.

        Raises:
            OSError: it can't be.
        """
        base.mkdir(parents=True, exist_ok=True)
        self.path = base.resolve() / f"{PREFIX}{os.urandom(8).hex()}"
        self._cgroup: Path | None = None
        self._make()

    def remember(self, group: Path) -> None:
        """Note which control group belongs to it, for whoever must clean up after us."""
        self._cgroup = group
        (self.path / _GROUP).write_text(str(group), encoding="utf-8")

    def directory(self, ward: int) -> Path:
        """Make the private directory of a container."""
        path = self.path / str(ward)
        try:
            path.mkdir(mode=_PRIVATE)
        except FileNotFoundError:  # whoever clears away old temporary files has taken the place
            self._make()
            path.mkdir(mode=_PRIVATE)
        return path

    def _make(self) -> None:
        """Make the directory; it bears its name only once it is locked."""
        made = self.path.with_name(f".{self.path.name}")
        made.mkdir(mode=_PRIVATE, parents=True)
        descriptor = os.open(made / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        made.rename(self.path)
        if self._cgroup is not None:
            self.remember(self._cgroup)

    def remove(self) -> None:
        """Delete it with all that is in it."""
        delete(self.path)


def sweep(base: Path) -> None:
    """Remove what wardens left that were killed: processes, control groups, directories. Never raises."""
    for path in base.resolve().glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _abandoned(path) as abandoned:
            if abandoned and _kill_marked(path):
                _remove_group(path)
                delete(path)


def delete(path: Path) -> None:
    """Delete a directory with all that is in it, however deep and whatever permissions were left there. Never raises.

    `shutil.rmtree` would do neither, and costs the warden a megabyte. No process is left that could swap a directory
    for a symbolic link meanwhile.
    """
    folders = [str(path)]
    for folder in folders:  # which grows
        with contextlib.suppress(OSError):
            os.chmod(folder, _PRIVATE)  # noqa: PTH101 (paths of text: there may be many)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        os.unlink(entry.path)  # noqa: PTH108
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # noqa: PTH106


@contextlib.contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Tell whether a place is ours and its warden dead; keep it locked meanwhile, so that two don't sweep it."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        yield False
        return
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _kill_marked(path: Path) -> bool:
    """Kill every process of a place; return whether none is left."""
    for _ in range(_ATTEMPTS):
        found = list(remaining(path))
        if not found:
            return True
        for pid in found:
            _kill(pid, path)
    return False


def remaining(path: Path) -> Iterator[int]:
    """Yield the processes of a place: those in its control groups or with its path in their environment; Linux only."""
    if sys.platform == "linux":
        with os.scandir("/proc") as entries:
            numbers = [int(entry.name) for entry in entries if entry.name.isdigit()]
        group = _group(path)
        grouped = cgroups.members(group) if group is not None else ()
        yield from (pid for pid in numbers if pid in grouped or _is_marked(pid, path))


def _is_marked(pid: int, path: Path) -> bool:
    try:
        environment = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it ended, or is somebody else's
        return False
    return b"\0HOME=%b/" % os.fsencode(path) in environment


def _group(path: Path) -> Path | None:
    """Return the control group that a place remembers, if it is one."""
    try:
        group = Path((path / _GROUP).read_text(encoding="utf-8"))
    except OSError:
        return None
    return group if group.name == path.name else None


def _remove_group(path: Path) -> None:
    if (group := _group(path)) is not None:
        cgroups.remove(group)


def _kill(pid: int, path: Path) -> None:
    """Kill a process that isn't our child and wait until it is gone; look again once its number can't change hands."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            if pid in remaining(path):
                signal.pidfd_send_signal(process, signal.SIGKILL)
                poll = select.poll()
                poll.register(process, select.POLLIN)
                poll.poll(_PATIENCE)
        finally:
            os.close(process)
