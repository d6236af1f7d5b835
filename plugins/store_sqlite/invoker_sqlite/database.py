"""The file: opened, checked, shared with other processes."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from invoker.errors import StoreUnavailable
from invoker_sqlite.schema import APPLICATION, STEPS, Step

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
    """One connection. Its statements run one after another in a thread of its own.

    What goes wrong with the file is a `StoreUnavailable` that says what to do.
    """

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self.path = path
        self._connection = connection
        self._turn = asyncio.Lock()
        """Held for a whole transaction: nobody reads what may be rolled back."""

    async def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run one statement by itself and return its rows."""
        async with self._turn:
            with _translated(self.path):
                return list(await self._connection.execute_fetchall(sql, parameters))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Write all of it or nothing. Waits for other writers, those in other processes included."""
        async with self._turn:
            with _translated(self.path):
                try:
                    await self._connection.execute_fetchall("BEGIN IMMEDIATE")
                    yield Transaction(self._connection)
                    await self._connection.commit()
                except BaseException:
                    # In the queue at once: it runs even if this wait is cancelled too. Without a transaction it does
                    # nothing, such as when the cancellation came after the commit.
                    await self._connection.rollback()
                    raise

    async def give_back(self, pages: int) -> None:
        """Return at most so many unused pages to the disk."""
        async with self._turn:
            with _translated(self.path):  # as a script: a statement would stop after the first page
                await self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")


class Transaction:
    """What can be done between BEGIN and COMMIT."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run one statement and return its rows."""
        return list(await self._connection.execute_fetchall(sql, parameters))

    async def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row. Rows made on the way are made in the connection's thread."""
        await self._connection.executemany(sql, rows)


@asynccontextmanager
async def opened(path: Path, busy_timeout: float, *, steps: Sequence[Step] = STEPS) -> AsyncIterator[Database]:
    """Open the file, creating it and its tables where they are missing. Others may do the same at the same time.

    Raises:
        StoreUnavailable: it can't be used; says what to do about it.
    """
    _make_file(path)
    async with AsyncExitStack() as stack:
        with _translated(path):
            sqlite3.connect(path).close()  # aiosqlite, where it can't connect, leaves its thread to itself
            connection = await stack.enter_async_context(
                aiosqlite.connect(path, timeout=busy_timeout, isolation_level=None)
            )
            await _made_ready(path, connection, busy_timeout, steps)
        yield Database(path, connection)


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


async def _made_ready(path: Path, connection: aiosqlite.Connection, busy_timeout: float, steps: Sequence[Step]) -> None:
    """Bring the file to today's form, while others may be doing the same."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + busy_timeout
    while True:
        try:
            await _check(path, connection, len(steps))
            await _use_wal(path, connection)
            await _migrate(path, connection, steps)
        except sqlite3.OperationalError as error:
            # Whoever changes the journal mode locks the file in a way that SQLite itself doesn't always wait for.
            if _code(error) != sqlite3.SQLITE_BUSY or clock() > deadline:
                raise
            await connection.rollback()
            await asyncio.sleep(_NEXT_LOOK)
        else:
            break
    for pragma in _SETTINGS:
        await connection.execute_fetchall(pragma)


async def _check(path: Path, connection: aiosqlite.Connection, known: int) -> int:
    """Return the version of the schema, 0 for a new file.

    In this order: tables and the marks of their owner appear together, so that tables seen are marked.
    """
    tables = await _value(connection, "SELECT count(*) FROM sqlite_master")
    version = int(await _value(connection, "PRAGMA user_version"))
    application = await _value(connection, "PRAGMA application_id")
    if (tables or version) and application != APPLICATION:
        raise StoreUnavailable(f"{path} is another program's database: name another file in sqlite.path")
    if version > known:
        raise StoreUnavailable(
            f"{path} was written by a newer functions-invoker (its schema is {version}, this one knows {known}): "
            "upgrade functions-invoker, or name another file in sqlite.path"
        )
    return version


async def _use_wal(path: Path, connection: aiosqlite.Connection) -> None:
    """Let readers and a writer, of any process, work side by side."""
    if await _value(connection, "PRAGMA journal_mode") == "wal":
        return
    await connection.execute_fetchall("PRAGMA auto_vacuum = INCREMENTAL")  # of an empty file only, hence first
    mode = await _value(connection, "PRAGMA journal_mode = WAL")
    if mode != "wal":
        raise StoreUnavailable(
            f"{path} can't be shared between processes: its file system doesn't allow SQLite's WAL mode. "
            "Name a file on a local disk in sqlite.path"
        )


async def _migrate(path: Path, connection: aiosqlite.Connection, steps: Sequence[Step]) -> None:
    if await _check(path, connection, len(steps)) == len(steps):
        return
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    version = await _check(path, connection, len(steps))  # another process may have done it meanwhile
    for step in steps[version:]:
        for statement in step:
            await connection.execute_fetchall(statement)
    await connection.execute_fetchall(f"PRAGMA application_id = {APPLICATION}")
    await connection.execute_fetchall(f"PRAGMA user_version = {len(steps)}")
    await connection.commit()


async def _value(connection: aiosqlite.Connection, sql: str) -> Any:
    ((value,),) = await connection.execute_fetchall(sql)
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
