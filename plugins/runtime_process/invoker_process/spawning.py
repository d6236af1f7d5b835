"""Starting a container's first process: what it inherits, and above all what it doesn't."""

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
from collections.abc import Callable, Sequence
from typing import Final

from invoker_process.messages import StartChild

_LIBC: Final = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36

_OUT_OF_THE_WAY: Final = 16
"""Descriptors are moved here first, above the numbers that they get in the end."""
_UMASK: Final = 0o022
_KILLED_FIRST: Final = b"500"
"""When the whole machine is short of memory, actions go before the invoker."""
_NOT_STARTED: Final = 127


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process.

    Raises:
        OSError: the kernel refuses.
    """
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def spawn(order: StartChild, directory: str, descriptors: Sequence[int], enter: Callable[[], None] | None) -> int:
    """Start a process in a session of its own and return its number; `enter` is called in it before anything else.

    `descriptors` become 0, 1, 2, …; it has no others.

    Raises:
        OSError: it could not be started; nothing is left of it.
    """
    failure, tell = os.pipe()  # closed by a successful exec
    try:
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                if enter is not None:
                    enter()
                _detach(supervisor)
                tell = _arrange(descriptors, tell)
                _limit(order)
                os.chdir(directory)
                os.execve(order.argv[0], order.argv, order.environment | {"HOME": directory, "TMPDIR": directory})  # noqa: S606 (no shell is wanted)
            except BaseException as error:  # noqa: BLE001 (the border of the process; the parent raises it again)
                os.write(tell, (str(error) or type(error).__name__).encode(errors="replace"))
            finally:
                os._exit(_NOT_STARTED)
        os.close(tell)
        tell = -1
        if reason := os.read(failure, 1 << 12).decode():
            os.waitpid(pid, 0)
            raise OSError(reason)
    finally:
        os.close(failure)
        if tell >= 0:
            os.close(tell)
    return pid


def _detach(supervisor: int) -> None:
    """Keep what the supervisor needs to end this process with all that it starts, and nothing else of it."""
    os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what its children leave behind stays below it while it lives
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # died before it could be watched
        os._exit(_NOT_STARTED)
    os.umask(_UMASK)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # exec would keep that they are ignored
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # and that the invoker has blocked others


def _arrange(descriptors: Sequence[int], tell: int) -> int:
    """Give the descriptors their numbers and close all others but `tell`; return its number, which comes next."""
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _OUT_OF_THE_WAY) for descriptor in (*descriptors, tell)]
    for number, descriptor in enumerate(moved):
        os.dup2(descriptor, number, inheritable=number < len(descriptors))
    os.closerange(len(moved), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return len(moved) - 1


def _limit(order: StartChild) -> None:
    """Set rlimits. Not `RLIMIT_AS`: Node.js maps 700 MB at rest; not `RLIMIT_NPROC`: it counts per user."""
    wanted = (
        (resource.RLIMIT_NOFILE, order.open_files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, order.file_size),
    )
    for kind, limit in wanted:
        hard = resource.getrlimit(kind)[1]
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (allowed, allowed))
    with contextlib.suppress(OSError):  # where `/proc` may only be read
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)  # `Path` would take 2 ms after a fork
        os.write(file, _KILLED_FIRST)
