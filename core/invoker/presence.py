"""Which invokers run with a state directory, and where operators reach them: a file for each.

So that `invoker pool` finds the one that runs, whatever port its door for operators was given. A file is locked as
long as its invoker lives; thereby one that a killed invoker left behind is told from one that counts, which a process
number can't: it may be somebody else's by then.
"""

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from invoker.config import NodeSettings, state_dir
from invoker.errors import Occupied, SettingsError

logger = logging.getLogger("invoker")

_FOLDER: Final = "running"
_SUFFIX: Final = ".json"


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """An invoker that runs."""

    name: str
    """As in logs: `invoker0`."""
    pid: int
    operators: str | None
    """URL of its door for operators (`contracts.OperatorDoor`), if it has one."""

    def occupies(self, missed: Occupied) -> bool:
        """Return whether it is this invoker that has what somebody else can't have."""
        return missed.holder == self.pid or (missed.port is not None and missed.port in self._ports())

    def _ports(self) -> set[int]:
        """Return the ports on which it listens, as far as this user may know."""
        import psutil  # noqa: PLC0415 (of all commands only `check` asks, and seldom)

        try:
            connections = psutil.Process(self.pid).net_connections("tcp")
        except psutil.Error:
            return set()
        return {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}


@contextmanager
def announced(node: NodeSettings, name: str, operators: str | None) -> Iterator[None]:
    """Tell that this process runs an invoker, until the block is left.

    Without a state directory that can be written to nobody is told, which a warning says: it is no reason not to run.
    """
    presence = Presence(name=name, pid=os.getpid(), operators=operators)
    try:
        path, file = _announce(state_dir(node) / _FOLDER, presence)
    except (OSError, SettingsError) as error:
        logger.warning("`invoker pool` must be given --url, for nobody can be told where it runs: %s", error)
        yield
        return
    with file:  # the lock goes with it
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def present(node: NodeSettings) -> list[Presence]:
    """Return the invokers that run with this state directory.

    Raises:
        SettingsError: there is no state directory to look into.
    """
    folder = state_dir(node) / _FOLDER
    found = [_read(path) for path in sorted(folder.glob(f"*{_SUFFIX}"))]
    return [presence for presence in found if presence is not None]


def _announce(folder: Path, presence: Presence) -> tuple[Path, BinaryIO]:
    """Write the file, and remove those of invokers that were killed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for other in folder.glob(f"*{_SUFFIX}"):
        if _is_left_behind(other):
            other.unlink(missing_ok=True)
    path = folder / f"{secrets.token_hex(8)}{_SUFFIX}"
    made = path.with_suffix(".new")  # under its own name only when it is whole and locked
    file = made.open("xb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(msgspec.json.encode(presence))
        file.flush()
        made.rename(path)
    except BaseException:
        file.close()
        made.unlink(missing_ok=True)
        raise
    return path, file


def _is_left_behind(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return not _is_locked(file)
    except OSError:  # gone, or somebody else's
        return False


def _read(path: Path) -> Presence | None:
    """Return what a file tells; `None` if its invoker is gone, or nobody here can read it."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(), type=Presence) if _is_locked(file) else None
    except (OSError, msgspec.MsgspecError):
        return None


def _is_locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
