"""Activation records, one row each; the oldest go first."""

import asyncio
import logging
import re
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from invoker.contracts import ActivationReader, ActivationStore, MetricFamily
from invoker.entities.activation import Activation, ActivationRecord
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.wire.record import read
from invoker_sqlite.database import DAMAGED, NO_ROOM, UNFIT, Database, check_whole, transaction
from invoker_sqlite.settings import KeepSettings

logger = logging.getLogger("invoker.sqlite")

_COLUMNS_WITHOUT_LOGS: Final = "activation_id, namespace, start, path, status, record, NULL"
_COLUMNS: Final = _COLUMNS_WITHOUT_LOGS.replace("NULL", "logs")
"""In this order."""

INSERT: Final = """
    INSERT INTO activations (activation_id, namespace, start, path, status, stored, size, record, logs)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (activation_id, namespace) DO NOTHING
"""
"""Takes what `row_of` returns."""

_AROUND: Final = 140
"""Bytes of the file that a record takes besides its two blobs: its other columns and the indexes, measured."""

_NO_LOGS: Final = b"[]"
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


_POLL: Final = 0.25
"""Seconds between two looks for what other processes have stored."""

_AT_ONCE: Final = 100
"""Records that are read in one look."""

_COUNT: Final = """
    UPDATE kept SET
        bytes = bytes + (SELECT coalesce(sum(size), 0) FROM activations WHERE seq > kept.counted),
        counted = (SELECT coalesce(max(seq), 0) FROM activations)
"""

Kept: TypeAlias = tuple[int, int]
"""The bytes of all records, and their number."""

_KEPT: Final = """
    SELECT bytes, coalesce((SELECT max(seq) FROM activations) - (SELECT min(seq) FROM activations) + 1, 0) FROM kept
"""
"""None is missing between the oldest and the newest: counting them would read the whole table."""

_CHUNK: Final = 1000
"""Records that a batch deletes, at most, or twice what it brings: some milliseconds, in which other writers wait."""
_CHUNK_BYTES: Final = 32 << 20  # no more are deleted once so much is free, when records are large
_FREE: Final = 4  # a file of which more than one page in so many is unused gives pages back
_PAGES: Final = 500  # so many at a time
_OLDEST: Final = """
    SELECT seq, stored, size FROM activations WHERE seq < (SELECT max(seq) FROM activations) ORDER BY seq LIMIT ?
"""

_NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM activations"
_GET: Final = f"SELECT {_COLUMNS} FROM activations WHERE activation_id = ? AND namespace = ?"  # noqa: S608 (a constant)
_RECENT: Final = f"""
    SELECT {_COLUMNS_WITHOUT_LOGS} FROM activations WHERE namespace = ?
    ORDER BY start DESC, seq DESC LIMIT ?
"""  # noqa: S608 (a constant)
_RECENT_OF: Final = f"""
    SELECT {_COLUMNS_WITHOUT_LOGS} FROM activations WHERE namespace = ? AND path = ?
    ORDER BY start DESC, seq DESC LIMIT ?
"""  # noqa: S608 (a constant)
_BETWEEN: Final = f"""
    SELECT seq, {_COLUMNS} FROM activations NOT INDEXED WHERE seq > ? AND seq <= ? AND namespace = ?
    ORDER BY seq LIMIT ?
"""  # noqa: S608 (a constant)


class SqliteActivations(ActivationStore, ActivationReader):
    """An `ActivationStore` and its reader. `kept` is what `kept_in` says of the file; `clock` gives Unix seconds."""

    def __init__(
        self, database: Database, keep: KeepSettings, kept: Kept, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._keep = keep
        self._kept = kept
        self._clock = clock
        self._fault: str | None = None  # why the last write failed, if it did
        self._complaint = ""  # why it deleted nothing; the same is not told twice in a row

    @property
    def reader(self) -> ActivationReader:
        """See `ActivationStore.reader`."""
        return self

    def faults(self) -> Sequence[str]:
        """See `Part.faults`: why the last write failed. It is tried again and again, until one succeeds."""
        return () if self._fault is None else (self._fault,)

    def metrics(self) -> Sequence[MetricFamily]:
        """See `Part.metrics`."""
        path = self._database.path
        files = {"database": path, "wal": path.with_name(f"{path.name}-wal")}
        sizes = [({"file": name}, float(file.stat().st_size)) for name, file in files.items() if file.exists()]
        size, number = self._kept
        return [
            MetricFamily("gauge_sqlite_file_bytes", "gauge", "The file, and what waits to go into it", sizes),
            MetricFamily("gauge_sqlite_records", "gauge", "Activation records in the file", [({}, number)]),
            MetricFamily("gauge_sqlite_records_bytes", "gauge", "What keep.bytes bounds", [({}, size)]),
        ]

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        """See `ActivationStore.put_many`. Refused is what no file can hold, above all a record beyond 1 GB.

        An empty batch asks whether records would be stored, and leaves the file as it is.
        """
        if not batch:
            await self._database.run(lambda connection: _probe(connection, self._database.path))
            return
        stored = int(self._clock() * 1000)
        try:
            done = await self._database.run(lambda connection: _put(connection, batch, stored, self._keep))
        except StoreUnavailable as error:
            self._fault = str(error)
            raise
        before, self._fault = self._complaint, None
        refused, self._kept, self._complaint = done
        if self._complaint and self._complaint != before:
            logger.warning("old activation records can't be deleted now: %s", self._complaint)
        if refused:
            raise RecordsRefused(refused)

    async def get(self, namespace: str, activation_id: str) -> Activation | None:
        """See `ActivationReader.get`."""
        return next(iter(await self._read(_GET, (_packed(activation_id), namespace))), None)

    async def recent(self, namespace: str, *, limit: int, action: str | None = None) -> Sequence[Activation]:
        """See `ActivationReader.recent`."""
        if action is None:
            return await self._read(_RECENT, (namespace, limit))
        return await self._read(_RECENT_OF, (namespace, action, limit))

    async def follow(self, namespace: str) -> AsyncIterator[Activation]:
        """See `ActivationReader.follow`: what any process stores. It begins when it is first waited for."""
        seen = await self._database.run(_newest)
        while True:
            newest = await self._database.run(_newest)
            rows = await self._rows(_BETWEEN, (seen, newest, namespace, _AT_ONCE)) if newest != seen else []
            seen = rows[-1][0] if rows else newest
            for row in rows:
                yield self._activation(row[1:])
            if not rows:
                await asyncio.sleep(_POLL)

    async def _read(self, sql: str, parameters: tuple[object, ...]) -> list[Activation]:
        return [self._activation(row) for row in await self._rows(sql, parameters)]

    async def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        return await self._database.run(lambda connection: connection.execute(sql, parameters).fetchall())

    def _activation(self, row: tuple[Any, ...]) -> Activation:
        fields, logs = row[-2:]
        try:
            return read(b'%b,"logs":%b}' % (fields[:-1], logs or _NO_LOGS))
        except ValueError as error:
            raise StoreUnavailable(f"{self._database.path}: a record can't be read: {error}") from error


def kept_in(connection: sqlite3.Connection) -> Kept:
    """Count what is in the file."""
    size, number = connection.execute(_KEPT).fetchone()
    return size, number


def _newest(connection: sqlite3.Connection) -> int:
    """Return the number of the record that was stored last, of any namespace; 0 if there is none."""
    return int(connection.execute(_NEWEST).fetchone()[0])


def _probe(connection: sqlite3.Connection, path: Path) -> None:
    """Look whether records can be stored: one is written, read, and taken back."""
    check_whole(connection)
    record, cached = b"x" * 100_000, connection.execute("PRAGMA cache_size").fetchone()[0]
    if shutil.disk_usage(path.parent).free < len(record):  # which may be hidden by room in the -wal file
        raise StoreUnavailable(f"{path}: {NO_ROOM}")
    connection.execute("PRAGMA cache_size = 10")  # pages: what is beyond them goes to the disk before the end
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, (b"", "", 0, "", 0, 0, 0, record, None))
        if connection.execute(_GET, (b"", "")).fetchone()[5] != record:
            raise sqlite3.DatabaseError(f"{DAMAGED} (a record is not read as it was written)")
    finally:
        connection.rollback()
        connection.execute(f"PRAGMA cache_size = {cached}")


def _put(
    connection: sqlite3.Connection, batch: Sequence[ActivationRecord], stored: int, keep: KeepSettings
) -> tuple[Mapping[str, str], Kept, str]:
    """Put a batch, and return what can't be put and why; delete what need not be kept any more: see `_pruned`."""
    refused: dict[str, str] = {}
    try:
        with transaction(connection):
            connection.executemany(INSERT, (row_of(record, stored) for record in batch))
            return refused, *_pruned(connection, len(batch), stored, keep)
    except UNFIT:
        with transaction(connection):
            for record in batch:
                try:
                    connection.execute(INSERT, row_of(record, stored))
                except UNFIT as error:
                    refused[record.activation_id] = str(error)
            return refused, *_pruned(connection, len(batch), stored, keep)


def _pruned(connection: sqlite3.Connection, added: int, stored: int, keep: KeepSettings) -> tuple[Kept, str]:
    """Count what was added and delete old records, the oldest first; return what is kept, and why none were deleted.

    No more than `_CHUNK` says at a time. The newest always stays: its number must not be given to another, which a
    follower would then never see.
    """
    connection.execute(_COUNT)
    connection.execute("SAVEPOINT added")
    complaint = ""
    try:
        excess = kept_in(connection)[0] - keep.bytes if keep.bytes else 0
        before = stored - keep.age * 1000 if keep.age else 0
        freed, last = 0, None
        for seq, at, size in connection.execute(_OLDEST, (max(_CHUNK, 2 * added),)):
            if (freed >= excess and at >= before) or freed >= _CHUNK_BYTES:
                break
            freed, last = freed + size, seq
        if last is not None:
            connection.execute("DELETE FROM activations WHERE seq <= ?", (last,))
            connection.execute("UPDATE kept SET bytes = bytes - ?", (freed,))
        pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        for _ in range(min(free, _PAGES) if free * _FREE > pages else 0):
            connection.execute("PRAGMA incremental_vacuum(1)")  # of several it would take one as well
    except sqlite3.DatabaseError as error:
        if not connection.in_transaction:  # what was added is lost as well
            raise
        connection.execute("ROLLBACK TO added")
        complaint = str(error)
    return kept_in(connection), complaint


def row_of(record: ActivationRecord, stored: int) -> tuple[Any, ...]:
    """Return the values of a row. `stored` is when it is stored, in Unix milliseconds."""
    logs = None if record.logs == _NO_LOGS else record.logs
    size = _AROUND + len(record.fields) + len(logs or b"")
    who = _packed(record.activation_id), record.namespace, record.start, record.action
    return *who, record.status, stored, size, record.fields, logs


def _packed(activation_id: str) -> bytes | str:
    """Return the id as it is stored: half as long if it is what OpenWhisk makes (spec 1.2.2)."""
    return bytes.fromhex(activation_id) if _ID.fullmatch(activation_id) else activation_id
