"""`records`: activation records through the recorder into SQLite, beside the same rows by `executemany` alone."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from bench.messages import activation_id
from bench.report import Report, progress, row_beside
from bench.target import folder
from invoker.config import ByteSize, NodeSettings, RecordingSettings, Settings
from invoker.entities.activation import Activation, Outcome, Status
from invoker.entities.function import Limits
from invoker.recording import recording
from invoker_sqlite import open_activation_store
from invoker_sqlite.settings import path_of

BATCH: Final = RecordingSettings().batch_size
_SECTION: Final = "records, SQLite"
_FLOOR: Final = f"sqlite3.executemany of the same rows into the same tables, {BATCH} in a transaction"
_PRAGMAS: Final = ("synchronous = NORMAL", "wal_autocheckpoint = 4000", "cache_size = -16000")
"""As the store sets them."""
_LINE: Final = (
    "2026-01-01T00:00:00.123456789Z stdout: a line of some eighty characters, as functions print them all day"
)


class _Taken(NamedTuple):
    """What a round took."""

    seconds: float
    cpu: float
    stored: int


def measure(report: Report, *, quick: bool) -> None:
    """Measure rounds of both."""
    progress(_SECTION)
    count = 5_000 if quick else 20_000
    rows: list[tuple[Any, ...]] = []
    ours: list[_Taken] = []
    floor: list[_Taken] = []
    with folder() as where:
        for number in range(5 if quick else 7):
            records = [_record(number * count + one) for one in range(count)]
            rows = asyncio.run(_rows(where / f"rows-{number}", records))
            floor.append(asyncio.run(_raw(where / f"floor-{number}", rows)))
            ours.append(asyncio.run(_recorded(where / f"ours-{number}", records)))
    wrong = [f"{one.stored} of {count} records were stored" for one in (*ours, *floor) if one.stored != count]
    report.fault(_SECTION, wrong)
    report.add(
        _SECTION,
        [
            row_beside(
                "records",
                "/s",
                [one.stored / one.seconds for one in ours],
                [one.stored / one.seconds for one in floor],
                _FLOOR,
            ),
            row_beside(
                "CPU per record",
                "µs",
                [one.cpu / one.stored * 1e6 for one in ours],
                [one.cpu / one.stored * 1e6 for one in floor],
                _FLOOR,
            ),
        ],
        [f"a row has {_size(rows)} bytes, of which logs {len(_LINE) * 3}"],
    )


def _record(number: int) -> Activation:
    """Return a warm, successful activation with three lines of logs."""
    start = 1_790_000_000_000 + number
    return Activation(
        activation_id=activation_id(number),
        namespace="guest",
        subject="guest-subject",
        path="guest/hello",
        name="hello",
        version="0.0.1",
        kind="python:3",
        limits=Limits(),
        outcome=Outcome(Status.SUCCESS, msgspec.Raw(b'{"greeting":"Hello, number %d!"}' % number), 30),
        start=start,
        end=start + 24,
        wait_time=5,
        blocking=True,
        logs=(_LINE,) * 3,
    )


async def _recorded(where: Path, records: Sequence[Activation]) -> _Taken:
    """Store records as the invoker does."""
    settings = Settings.of(NodeSettings(state_dir=where))
    limits = RecordingSettings(max_bytes=ByteSize(1 << 30))
    async with open_activation_store(settings) as store, recording(store, limits) as recorder:
        stored = asyncio.Event()
        recorder.batch_sizes = lambda _: stored.set() if recorder.stored == len(records) else None
        begun, cpu = time.perf_counter(), time.process_time()
        for one in records:
            recorder.submit(one)
        await stored.wait()
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return _Taken(seconds, cpu, _count(path_of(settings)))


async def _rows(where: Path, records: Sequence[Activation]) -> list[tuple[Any, ...]]:
    """Return the rows that the store makes of records."""
    settings = Settings.of(NodeSettings(state_dir=where))
    async with open_activation_store(settings) as store:
        await store.put_many(records)
    with closing(sqlite3.connect(path_of(settings))) as database:
        return database.execute("SELECT * FROM activations ORDER BY seq").fetchall()


async def _raw(where: Path, rows: Sequence[tuple[Any, ...]]) -> _Taken:
    """Store rows the shortest way, in a file that the store has made."""
    settings = Settings.of(NodeSettings(state_dir=where))
    async with open_activation_store(settings):
        pass
    path = path_of(settings)
    insert = f"INSERT INTO activations VALUES ({', '.join('?' * len(rows[0]))})"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for pragma in _PRAGMAS:
            database.execute(f"PRAGMA {pragma}")
        begun, cpu = time.perf_counter(), time.process_time()
        for at in range(0, len(rows), BATCH):
            database.execute("BEGIN IMMEDIATE")
            database.executemany(insert, rows[at : at + BATCH])
            database.execute("COMMIT")
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return _Taken(seconds, cpu, _count(path))


def _count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM activations").fetchone()[0])


def _size(rows: Sequence[tuple[Any, ...]]) -> int:
    return sum(len(value) if isinstance(value, bytes | str) else 8 for value in rows[0])
