"""Activation records, one row each; the oldest go first."""

import asyncio
import logging
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from invoker.contracts import ActivationReader, ActivationStore, MetricFamily
from invoker.entities.activation import Activation, Outcome, Status
from invoker.entities.function import Limits
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker_sqlite.database import UNFIT, Database, transaction
from invoker_sqlite.settings import KeepSettings

logger = logging.getLogger("invoker.sqlite")

_COLUMNS: Final = "activation_id, namespace, start, path, status, record, logs"
"""What `_activation_of` needs, in this order."""

_COLUMNS_WITHOUT_LOGS: Final = "activation_id, namespace, start, path, status, record, NULL"

INSERT: Final = """
    INSERT INTO activations (activation_id, namespace, start, path, status, stored, size, record, logs)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (activation_id, namespace) DO NOTHING
"""
"""Takes what `row_of` returns."""

_AROUND: Final = 140
"""Bytes of the file that a record takes besides its two blobs: its other columns and the indexes, measured."""

_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class _Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    r"""What a record has besides its row's columns, as the file has it. New fields go to the end, with a default.

    JSON is kept as bytes: as part of other JSON it could not be read back if it has a lone surrogate (`"\ud800"`).
    """

    subject: str
    name: str
    version: str
    kind: str
    limits: Limits | None
    response: bytes
    size: int | None
    end: int
    wait_time: int | None
    init_time: int | None
    timed_out: bool
    cause: str | None
    binding: str | None
    blocking: bool
    main: str | None
    caller_annotations: bytes | None
    notes: tuple[tuple[str, str | int], ...]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Record)
_logs_decoder: Final = msgspec.msgpack.Decoder(tuple[str, ...])

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
        self._kept = kept
        self._clock = clock
        self._pruner = _Pruner(database, keep, clock)
        self._fault: str | None = None
        """Why the last write failed, if it did."""

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

    async def put_many(self, batch: Sequence[Activation]) -> None:
        """See `ActivationStore.put_many`. Refused is what SQLite can't hold, above all a record beyond 1 GB."""
        if not batch:
            return
        stored = int(self._clock() * 1000)
        try:
            refused, self._kept = await self._database.run(lambda connection: _put(connection, batch, stored))
        except StoreUnavailable as error:
            self._fault = str(error)
            raise
        self._fault = None
        await self._pruner.prune()
        if refused:
            raise RecordsRefused(refused)

    async def get(self, namespace: str, activation_id: str) -> Activation | None:
        """See `ActivationReader.get`."""
        found = await self._read(_GET, (_packed(activation_id), namespace))
        return found[0] if found else None

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
        try:
            return _activation_of(row)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"{self._database.path}: a record can't be read: {error}") from error


def kept_in(connection: sqlite3.Connection) -> Kept:
    """Count what is in the file."""
    size, number = connection.execute(_KEPT).fetchone()
    return size, number


def _newest(connection: sqlite3.Connection) -> int:
    """Return the number of the record that was stored last, of any namespace; 0 if there is none."""
    return int(connection.execute(_NEWEST).fetchone()[0])


def _put(connection: sqlite3.Connection, batch: Sequence[Activation], stored: int) -> tuple[dict[str, str], Kept]:
    """Put a batch; return what can't be put, with what is wrong with it, and what is kept now."""
    refused: dict[str, str] = {}
    try:
        with transaction(connection):
            connection.executemany(INSERT, (row_of(activation, stored) for activation in batch))
            connection.execute(_COUNT)
    except UNFIT:
        with transaction(connection):
            for activation in batch:
                try:
                    connection.execute(INSERT, row_of(activation, stored))
                except UNFIT as error:
                    refused[activation.activation_id] = str(error)
            connection.execute(_COUNT)
    return refused, kept_in(connection)


def row_of(activation: Activation, stored: int) -> tuple[Any, ...]:
    """Return the values of a row. `stored` is when it is stored, in Unix milliseconds.

    Raises:
        UnicodeEncodeError, OverflowError: it has a value that the file can't hold.
    """
    outcome = activation.outcome
    annotations = activation.caller_annotations
    record = _encoder.encode(
        _Record(
            activation.subject,
            activation.name,
            activation.version,
            activation.kind,
            activation.limits,
            bytes(outcome.response),
            outcome.size,
            activation.end,
            activation.wait_time,
            activation.init_time,
            activation.timed_out,
            activation.cause,
            activation.binding,
            activation.blocking,
            activation.main,
            None if annotations is None else bytes(annotations),
            activation.notes,
        )
    )
    logs = _encoder.encode(activation.logs) if activation.logs else None
    return (
        _packed(activation.activation_id),
        activation.namespace,
        activation.start,
        activation.path,
        outcome.status.value,
        stored,
        _AROUND + len(record) + len(logs or b""),
        record,
        logs,
    )


def _activation_of(row: tuple[Any, ...]) -> Activation:
    """Return the record of a row that was read.

    Raises:
        msgspec.DecodeError: it is none.
    """
    activation_id, namespace, start, path, status, blob, logs = row
    values = msgspec.structs.asdict(_decoder.decode(blob))
    outcome = Outcome(Status(status), msgspec.Raw(values.pop("response")), values.pop("size"))
    annotations = values.pop("caller_annotations")
    return Activation(
        activation_id=activation_id if isinstance(activation_id, str) else activation_id.hex(),
        namespace=namespace,
        path=path,
        outcome=outcome,
        start=start,
        caller_annotations=None if annotations is None else msgspec.Raw(annotations),
        logs=() if logs is None else _logs_decoder.decode(logs),
        **values,
    )


def _packed(activation_id: str) -> bytes | str:
    """Return the id as it is stored: half as long if it is what OpenWhisk makes (spec 1.2.2)."""
    return bytes.fromhex(activation_id) if _ID.fullmatch(activation_id) else activation_id


_INTERVAL: Final = 60.0
"""Seconds between two looks for what need not be kept, unless the last one left something to do."""

_CHUNK: Final = 500
"""Records that one transaction deletes: a few milliseconds in which other writers wait."""

_CHUNK_BYTES: Final = 16 << 20
"""No more are deleted by a transaction that has freed so much, when records are large."""

_CHUNKS: Final = 2
"""Transactions at a time: after a batch of 500, so that pruning is faster than storing."""

_FREE: Final = 4
"""A file of which more than one page in so many is unused gives pages back."""

_PAGES: Final = 500
"""Pages that are given back at a time."""

_OLDEST: Final = """
    SELECT seq, stored, size FROM activations WHERE seq < (SELECT max(seq) FROM activations) ORDER BY seq LIMIT ?
"""
_DELETE: Final = "DELETE FROM activations WHERE seq <= ?"
_UNCOUNT: Final = "UPDATE kept SET bytes = bytes - ?"


class _Pruner:
    """Deletes records, the one first that was stored first, a few at a time.

    The newest always stays: its number must not be given to another, which a follower would then never see.
    """

    def __init__(self, database: Database, keep: KeepSettings, clock: Callable[[], float]) -> None:
        self._database = database
        self._keep = keep
        self._clock = clock
        self._last: float | None = None
        """When there was last nothing more to do."""

    async def prune(self) -> None:
        """Delete some of what need not be kept, if it is time to look. Raises nothing: the next look may succeed."""
        now = self._clock()
        if self._last is not None and 0 <= now - self._last < _INTERVAL:  # below 0: the clock was set back
            return
        try:
            done = await self._some(now)
        except StoreUnavailable as error:
            logger.warning("old activation records can't be deleted now: %s", error)
            done = True
        if done:
            self._last = now

    async def _some(self, now: float) -> bool:
        """Delete some; return whether it was all."""
        if self._keep.age or self._keep.bytes:
            for _ in range(_CHUNKS):
                if not await self._database.run(lambda connection: self._chunk(connection, now)):
                    break
            else:
                return False
        return await self._database.run(_shrunk)

    def _chunk(self, connection: sqlite3.Connection, now: float) -> bool:
        """Delete a few records; return whether there may be more."""
        before = (now - self._keep.age) * 1000 if self._keep.age else 0
        with transaction(connection):
            ((total,),) = connection.execute("SELECT bytes FROM kept")
            excess = total - self._keep.bytes if self._keep.bytes else 0
            freed, last, more = 0, None, True
            oldest = connection.execute(_OLDEST, (_CHUNK,)).fetchall()
            for seq, stored, size in oldest:
                more = freed < excess or stored < before
                if not more or freed >= _CHUNK_BYTES:
                    break
                freed, last = freed + size, seq
            if last is not None:
                connection.execute(_DELETE, (last,))
                connection.execute(_UNCOUNT, (freed,))
        return bool(oldest) and more


def _shrunk(connection: sqlite3.Connection) -> bool:
    """Give some unused pages back to the disk if there are many; return whether that was all."""
    ((pages,),) = connection.execute("PRAGMA page_count")
    ((free,),) = connection.execute("PRAGMA freelist_count")
    if free * _FREE <= pages or free < _PAGES:
        return True
    connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")  # one statement would stop after the first page
    return False
