"""The file: its schema, how it is opened, and its one connection, which lives in a thread."""

import asyncio
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
_NEXT_LOOK: Final = 0.01  # seconds until a file that is being created is tried again

_SETTINGS: Final = (
    "PRAGMA synchronous = NORMAL",  # what is committed survives the process; the last of it may not survive the machine
    "PRAGMA wal_autocheckpoint = 8000",  # pages, 32 MB; a third less CPU per record than at 1000
    "PRAGMA journal_size_limit = 33554432",  # what a burst leaves of the -wal file
    "PRAGMA cache_size = -16000",  # KiB; ids are random, so that each record touches another page of their index
)

UNFIT: Final = (sqlite3.DataError, UnicodeEncodeError, OverflowError)
"""What is raised for a value that no file can hold: too long, no Unicode, beyond 64 bits."""

_REMEDIES: Final = {
    sqlite3.SQLITE_NOTADB: "it is no database: move it away, or name another file in sqlite.path",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it and its -wal file away, or name another file in sqlite.path",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened: see who owns it and its directory, or name another in sqlite.path",
    sqlite3.SQLITE_PERM: "it can't be opened: see who owns it and its directory, or name another in sqlite.path",
    sqlite3.SQLITE_READONLY: "it can't be written: see who owns it and its directory, or name another in sqlite.path",
    sqlite3.SQLITE_FULL: "no room is left on its disk: make some, or lower sqlite.keep.bytes",
    sqlite3.SQLITE_BUSY: "another process holds it for longer than sqlite.busy_timeout",
    sqlite3.SQLITE_LOCKED: "another process holds it for longer than sqlite.busy_timeout",
}


class Database:
    """One connection. What is done with it is done in a thread of its own, one thing after another."""

    def __init__(self, path: Path, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self.path = path
        self._connection = connection
        self._thread = thread

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the connection. If the wait for it is cancelled, what has begun is done to its end.

        Raises:
            StoreUnavailable: the file can't be used; says what to do about it.
        """
        with _translated(self.path):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._connection)


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


@asynccontextmanager
async def opened(path: Path, busy_timeout: float, *, steps: Sequence[Step] = STEPS) -> AsyncIterator[Database]:
    """Open the file, creating it and its tables where they are missing. Others may do the same at the same time.

    Raises:
        StoreUnavailable: it can't be used; says what to do about it.
    """
    _make_file(path)
    with _translated(path):
        connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
    thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
    database = Database(path, connection, thread)
    try:
        await database.run(lambda connection: _make_ready(path, connection, busy_timeout, steps))
        yield database
    finally:
        closing = thread.submit(connection.close)  # after what has begun, even if nobody waits for that any more
        thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))


def _make_file(path: Path) -> None:
    """Create the file if it is missing, readable for its owner only: results of functions are nobody else's.

    Not by opening it: closing a second descriptor of the file would drop the locks that this process holds on it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.mknod(path, 0o600)
    except FileExistsError:  # another process was faster, or a directory is no directory: opening it will tell
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
