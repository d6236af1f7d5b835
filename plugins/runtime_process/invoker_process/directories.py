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
from invoker_process.sampling import contents

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
    """Those of this supervisor, below `base`, which is made if need be, or `OSError`. Locked until the process ends."""

    def __init__(self, base: Path) -> None:
        base.mkdir(parents=True, exist_ok=True)
        self.path = base.resolve() / f"{PREFIX}{os.urandom(8).hex()}"
        self._groups: Sequence[Path] = ()
        self._make()

    def remember(self, groups: Sequence[Path]) -> None:
        """Note which control groups belong to them, for whoever must clean up after us."""
        self._groups = groups
        (self.path / _GROUPS).write_bytes(b"\n".join(map(os.fsencode, groups)))

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
        fcntl.flock(os.open(made / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
        made.rename(self.path)
        self.remember(self._groups)


def listen(directory: Path) -> tuple[socket.socket, int]:
    """Return a Unix socket that listens, and a descriptor whose path in `/proc/self/fd` is the only way to it.

    It had a name in `directory`, a private one, for as long as it took to open it. Without one no other user can reach
    it, whatever the permissions above say, nor another container by looking around; nothing is left to delete; and
    however deep the directory is, the path stays below the 108 bytes that a socket's may have. `OSError` if it can't.
    """
    folder = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX)
    try:
        path = f"/proc/self/fd/{folder}/socket"
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

    `shutil.rmtree` would do neither, and costs a megabyte. No process is left that could swap in a link meanwhile.
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
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or its supervisor lives; nor do two sweep it
                    _sweep(path)
                finally:
                    os.close(lock)


def _sweep(path: Path) -> None:
    for _ in range(_ATTEMPTS):
        for pid in (found := list(remaining(path))):
            _kill(pid, path)
        if not found:
            for group in _groups(path):
                cgroups.remove(group)
            delete(path)
            return


def remaining(path: Path) -> Iterator[int]:
    """Yield a supervisor's processes: those in its control groups or with the path of `path` in their environment."""
    grouped = {pid for group in _groups(path) for pid in cgroups.members(group)}
    mark = b"\0HOME=%b/" % os.fsencode(path)
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:  # noqa: PTH208 (there may be many)
        if pid in grouped or mark in b"\0" + contents(f"/proc/{pid}/environ"):
            yield pid


def _kill(pid: int, path: Path) -> None:
    """Kill a process that isn't our child and wait until it is gone; look again once its number can't change hands."""
    with contextlib.suppress(ProcessLookupError), open(os.pidfd_open(pid), "rb") as process:  # noqa: PTH123
        if pid in remaining(path):
            signal.pidfd_send_signal(process.fileno(), signal.SIGKILL)
            poll = select.poll()
            poll.register(process, select.POLLIN)
            poll.poll(_PATIENCE)


def _groups(path: Path) -> list[Path]:
    """Return the control groups that are remembered, as far as they can be this supervisor's."""
    lines = contents(f"{path}/{_GROUPS}").splitlines()
    return [group for group in map(Path, map(os.fsdecode, lines)) if group.name == path.name]
