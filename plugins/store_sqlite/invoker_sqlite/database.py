"""The file: its schema, how it is opened, and its one connection, which lives in a thread."""

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from invoker.errors import StoreUnavailable

T = TypeVar("T")

logger = logging.getLogger("invoker.sqlite")

Step: TypeAlias = tuple[str, ...]
"""The statements that lead from one version of the schema to the next."""

APPLICATION: Final = 0x4F57_494E
"""`PRAGMA application_id` of the invoker's files: "OWIN"."""

_FIRST: Final[Step] = (
    # A deleted function leaves its number, so that no revision comes twice.
    """
    CREATE TABLE functions (
        document_id TEXT NOT NULL PRIMARY KEY,
        namespace TEXT NOT NULL,
        number INTEGER NOT NULL,
        revision TEXT,
        head BLOB,
        code TEXT
    )
    """,
    "CREATE INDEX functions_by_namespace ON functions (namespace, document_id)",
    # `seq` rises with each record that is stored. The blobs come last, logs behind all else: SQLite reads a row from
    # its front, so that a listing never touches the pages that long logs spill into.
    """
    CREATE TABLE activations (
        seq INTEGER PRIMARY KEY,
        activation_id NOT NULL,
        namespace TEXT NOT NULL,
        start INTEGER NOT NULL,
        path TEXT NOT NULL,
        status INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        size INTEGER NOT NULL,
        record BLOB NOT NULL,
        logs BLOB
    )
    """,
    "CREATE UNIQUE INDEX activations_by_id ON activations (activation_id, namespace)",
    "CREATE INDEX activations_by_start ON activations (namespace, start, seq, path)",
    # The sum of all `size`, kept up to date, since adding them up reads the whole table.
    "CREATE TABLE kept (bytes INTEGER NOT NULL, counted INTEGER NOT NULL)",
    "INSERT INTO kept VALUES (0, 0)",
)

STEPS: Final[Sequence[Step]] = (_FIRST,)
"""What is in the file. A step that was released is never changed: append another."""

_PRIMARY: Final = 0xFF  # SQLite's extended codes have the primary one in their lowest byte
_LOOK: Final = 5.0  # seconds for which it is looked whether a file is whole: at 1 GB a second, if it is cached
_NEXT_LOOK: Final = 0.01  # seconds until a file that is being created is tried again

_SETTINGS: Final = (
    "PRAGMA synchronous = NORMAL",  # what is committed survives the process; the last of it may not survive the machine
    "PRAGMA wal_autocheckpoint = 8000",  # pages, 32 MB; a third less CPU per record than at 1000
    "PRAGMA journal_size_limit = 33554432",  # what a burst leaves of the -wal file
    "PRAGMA cache_size = -16000",  # KiB; ids are random, so that each record touches another page of their index
)

UNFIT: Final = (sqlite3.DataError, sqlite3.IntegrityError, OverflowError, TypeError, ValueError)
"""What is raised for a value that no file can hold: too long, missing, beyond 64 bits, of an odd type, no Unicode."""

DAMAGED: Final = "it is damaged: move it and its -wal file away, or name another file in sqlite.path"
NO_ROOM: Final = "no room is left on its disk: make some, or lower sqlite.keep.bytes"
_REMEDIES: Final = {
    sqlite3.SQLITE_NOTADB: "it is no database: move it away, or name another file in sqlite.path",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_CANTOPEN: "it can't be opened: see who owns it and its directory, or name another in sqlite.path",
    sqlite3.SQLITE_PERM: "it can't be opened: see who owns it and its directory, or name another in sqlite.path",
    sqlite3.SQLITE_READONLY: "it can't be written: see who owns it and its directory, or name another in sqlite.path",
    sqlite3.SQLITE_FULL: NO_ROOM,
    sqlite3.SQLITE_BUSY: "another process holds it for longer than sqlite.busy_timeout",
    sqlite3.SQLITE_LOCKED: "another process holds it for longer than sqlite.busy_timeout",
}


class Database:
    """One connection. What is done with it is done in a thread of its own, one thing after another.

    `holds` is what is in the file, for the log, should it be deleted or replaced: then the one that is there is opened.
    """

    def __init__(self, path: Path, busy_timeout: float, steps: Sequence[Step], holds: str) -> None:
        self.path = path
        self._busy_timeout = busy_timeout
        self._steps = steps
        self._holds = holds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection | None = None
        self._identities: list[object] = []  # of the file and those beside it: a name may come to stand for another

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the connection. If the wait for it is cancelled, what has begun is done to its end.

        Raises:
            StoreUnavailable: the file can't be used; says what to do about it.
        """
        with _translated(self.path):
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._current()))

    async def close(self) -> None:
        """Close it, after what has begun, even if nobody waits for that any more."""
        closing = self._thread.submit(lambda: None if self._connection is None else self._connection.close())
        self._thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    def _current(self) -> sqlite3.Connection:
        """Return a connection to the file that has the name now."""
        if self._connection is not None and _identity(self.path) != self._identities[0]:
            logger.warning(
                "%s was deleted or replaced: from now on the file of that name has the %s", self.path, self._holds
            )
            self._abandon(self._connection)
            self._connection = None
        if self._connection is None:
            self._connection = self._opened()
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        _make_file(self.path)
        identity = _identity(self.path)  # before it is opened: another in between is then found out
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            _make_ready(self.path, connection, self._busy_timeout, self._steps)
        except BaseException:
            connection.close()
            raise
        self._identities = [identity, *map(_identity, _beside(self.path))]
        return connection

    def _abandon(self, connection: sqlite3.Connection) -> None:
        """Close the connection to a file that has lost its name, and which may have got another."""
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # it may have moved, without what is beside it
        connection.close()
        with contextlib.suppress(OSError):
            for path, identity in zip(_beside(self.path), self._identities[1:], strict=True):
                if _identity(path) == identity:  # else it is that of the file that is there now
                    path.unlink()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all of it or nothing. Waits for other writers, those in other processes included."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def check_whole(connection: sqlite3.Connection) -> None:
    """Look whether the file is whole, for some seconds at most. That it isn't too short is seen by whoever opens it."""
    deadline = time.monotonic() + _LOOK
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        told = _value(connection, "PRAGMA quick_check(1)")
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        told = "ok"  # as far as was seen
    finally:
        connection.set_progress_handler(None, 0)
    if told != "ok":
        raise sqlite3.DatabaseError(f"{DAMAGED} ({told})")


@asynccontextmanager
async def opened(
    path: Path, busy_timeout: float, holds: str = "data", *, steps: Sequence[Step] = STEPS
) -> AsyncIterator[Database]:
    """Open the file, creating it and its tables where they are missing. Others may do the same at the same time.

    Raises:
        StoreUnavailable: it can't be used; says what to do about it.
    """
    database = Database(path, busy_timeout, steps, holds)
    try:
        await database.run(lambda _: None)
        yield database
    finally:
        await database.close()


def _beside(path: Path) -> list[Path]:
    """Return where SQLite keeps what waits to go into a file, and who waits for whom."""
    return [path.with_name(f"{path.name}-{kind}") for kind in ("wal", "shm")]


def _identity(path: Path) -> object:
    """Return what a file doesn't share with another of its name; `None` if there is none."""
    with contextlib.suppress(OSError):
        return (status := path.stat()).st_dev, status.st_ino
    return None


def _make_file(path: Path) -> None:
    """Create the file if it is missing, readable for its owner only: results of functions are nobody else's.

    Not by opening it: closing a second descriptor of the file would drop the locks that this process holds on it. What
    a file that was deleted has left beside it goes first: SQLite would take it for this one's ("disk I/O error").
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            return
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # one process at a time, so that nobody deletes what another has begun
            if not path.exists():
                for left in _beside(path):
                    left.unlink(missing_ok=True)
                os.mknod(path, 0o600)
        finally:
            os.close(folder)
    except FileExistsError:  # a directory is no directory: opening it will tell
        return
    except OSError as error:
        raise StoreUnavailable(
            f"{path} can't be created ({error.strerror}): make its directory writable, "
            "or name another file in sqlite.path"
        ) from error


def _make_ready(path: Path, connection: sqlite3.Connection, busy_timeout: float, steps: Sequence[Step]) -> None:
    """Bring the file to today's form, while others may be doing the same."""
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            _check(path, connection, len(steps))
            _use_wal(path, connection)
            _migrate(path, connection, steps)
        except sqlite3.OperationalError as error:
            # Whoever changes the journal mode locks the file in a way that SQLite itself doesn't always wait for.
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_NEXT_LOOK)
        else:
            break
    for pragma in _SETTINGS:
        connection.execute(pragma)


def _check(path: Path, connection: sqlite3.Connection, known: int) -> int:
    """Return the version of the schema, 0 for a new file.

    In this order: tables and the marks of their owner appear together, so that tables seen are marked.
    """
    tables = _value(connection, "SELECT count(*) FROM sqlite_master")
    version = int(_value(connection, "PRAGMA user_version"))
    application = _value(connection, "PRAGMA application_id")
    if (tables or version) and application != APPLICATION:
        raise StoreUnavailable(f"{path} is another program's database: name another file in sqlite.path")
    if version > known:
        raise StoreUnavailable(
            f"{path} was written by a newer functions-invoker (its schema is {version}, this one knows {known}): "
            "upgrade functions-invoker, or name another file in sqlite.path"
        )
    return version


def _use_wal(path: Path, connection: sqlite3.Connection) -> None:
    """Let readers and a writer, of any process, work side by side."""
    if _value(connection, "PRAGMA journal_mode") == "wal":
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of an empty file only, hence first
    if _value(connection, "PRAGMA journal_mode = WAL") != "wal":
        raise StoreUnavailable(
            f"{path} can't be shared between processes: its file system doesn't allow SQLite's WAL mode. "
            "Name a file on a local disk in sqlite.path"
        )


def _migrate(path: Path, connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    if _check(path, connection, len(steps)) == len(steps):
        return
    with transaction(connection):
        version = _check(path, connection, len(steps))  # another process may have done it meanwhile
        for step in steps[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def _value(connection: sqlite3.Connection, sql: str) -> Any:
    ((value,),) = connection.execute(sql)
    return value


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what happens to the file into `StoreUnavailable`. What is wrong with a value or a statement passes."""
    try:
        yield
    except (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        remedy = _REMEDIES.get(_code(error))
        raise StoreUnavailable(f"{path}: {remedy} ({error})" if remedy else f"{path}: {error}") from error
