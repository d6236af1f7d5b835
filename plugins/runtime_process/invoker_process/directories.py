"""Working directories: those of one supervisor lie in one directory, which the next supervisor sweeps if it died.

That is `functions-invoker-…` below the directory that the settings name. Its lock tells whether its supervisor lives,
whatever became of process numbers since. Every process of a container has its path in its environment, unless it was
started without one, which is how the daemons of a supervisor that was killed are found.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from invoker_process import cgroups

PREFIX: Final = "functions-invoker-"
_LOCK: Final = "lock"
_GROUPS: Final = "cgroups"
_PRIVATE: Final = 0o700
_BACKLOG: Final = 4096
"""Connections that wait for an action proxy which is busy, at most; as a rule the system allows as many."""
_PATIENCE: Final = 2000
"""Milliseconds for which a process that was sent SIGKILL is waited for."""
_ATTEMPTS: Final = 10


class WorkingDirectories:
    """Those of this supervisor. Locked until the process ends."""

    def __init__(self, base: Path) -> None:
        """Make their directory below `base`, which is made if need be.

        Raises:
            OSError: it can't be.
        """
        base.mkdir(parents=True, exist_ok=True)
        self.path = base.resolve() / f"{PREFIX}{os.urandom(8).hex()}"
        self._groups: Sequence[Path] = ()
        self._make()

    def remember(self, groups: Sequence[Path]) -> None:
        """Note which control groups belong to them, for whoever must clean up after us."""
        self._groups = groups
        (self.path / _GROUPS).write_text("\n".join(map(str, groups)), encoding="utf-8")

    def make(self, number: int) -> Path:
        """Make the private directory of a container."""
        path = self.path / str(number)
        try:
            path.mkdir(mode=_PRIVATE)
        except FileNotFoundError:  # whoever clears away old temporary files has taken all of them
            self._make()
            path.mkdir(mode=_PRIVATE)
        return path

    def _make(self) -> None:
        """Make what they lie in; it bears its name only once it is locked."""
        made = self.path.with_name(f".{self.path.name}")
        made.mkdir(mode=_PRIVATE, parents=True)
        descriptor = os.open(made / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        made.rename(self.path)
        if self._groups:
            self.remember(self._groups)


def listen(directory: Path) -> tuple[socket.socket, int]:
    """Return a Unix socket that listens, and a descriptor whose path in `/proc/self/fd` is the only way to it.

    It had a name in `directory`, a private one, for as long as it took to open it. Without one no other user can reach
    it, whatever the permissions above say, nor another container by looking around; nothing is left to delete; and
    however deep the directory is, the path stays below the 108 bytes that a socket's may have.

    Raises:
        OSError: it can't be made.
    """
    folder = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{folder}/socket"
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(path)
            listener.listen(_BACKLOG)
            address = os.open(path, os.O_PATH | os.O_CLOEXEC)
            os.unlink(path)  # noqa: PTH108 (the supervisor is small)
        except OSError:
            listener.close()
            raise
    finally:
        os.close(folder)
    return listener, address


def delete(path: Path) -> None:
    """Delete a directory with all that is in it, however deep and whatever permissions were left there. Never raises.

    `shutil.rmtree` would do neither, and costs the supervisor a megabyte. No process is left that could swap a
    directory for a symbolic link meanwhile.
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


def sweep(base: Path) -> None:
    """Remove what supervisors left that were killed: processes, control groups, directories. Never raises."""
    for path in base.resolve().glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _abandoned(path) as abandoned:
            if abandoned and _kill_marked(path):
                for group in _groups(path):
                    cgroups.remove(group)
                delete(path)


def remaining(path: Path) -> Iterator[int]:
    """Yield a supervisor's processes: those in its control groups or with the path of `path` in their environment."""
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 (there may be many)
    grouped = {pid for group in _groups(path) for pid in cgroups.members(group)}
    yield from (pid for pid in numbers if pid in grouped or _is_marked(pid, path))


@contextlib.contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Tell if a directory is ours and its supervisor dead; keep it locked meanwhile, so that two don't sweep it."""
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
    """Kill every process that remains; return whether none is left."""
    for _ in range(_ATTEMPTS):
        found = list(remaining(path))
        if not found:
            return True
        for pid in found:
            _kill(pid, path)
    return False


def _is_marked(pid: int, path: Path) -> bool:
    try:
        environment = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it ended, or is somebody else's
        return False
    return b"\0HOME=%b/" % os.fsencode(path) in environment


def _groups(path: Path) -> list[Path]:
    """Return the control groups that are remembered, as far as they can be this supervisor's."""
    try:
        lines = (path / _GROUPS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [group for group in map(Path, lines) if group.name == path.name]


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
