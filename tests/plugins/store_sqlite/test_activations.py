"""What the SQLite store of records promises beyond the contract."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from invoker.config import ByteSize, SecondsOrZero
from invoker.entities.activation import Activation
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.testing.activation_store import HARD_JSON
from invoker.testing.builders import an_activation, an_outcome
from invoker_sqlite.activations import SqliteActivations
from invoker_sqlite.database import Database, opened
from invoker_sqlite.settings import KeepSettings

T = TypeVar("T")

DAY = 86400.0


class Clock:
    """Unix seconds, as a test wants them."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def activations(
    path: Path, *, clock: Clock | None = None, keep: KeepSettings | None = None
) -> AsyncIterator[SqliteActivations]:
    async with opened(path, 5) as database:
        yield SqliteActivations(database, keep or KeepSettings(), clock=clock or Clock())


def inside(store: SqliteActivations) -> Database:
    """What only tests look at."""
    return store._database


async def in_thread(store: SqliteActivations, call: Callable[[sqlite3.Connection], T]) -> T:
    """Do something to the connection that no statement can."""
    connection = inside(store)._connection
    execute: Callable[..., Awaitable[T]] = connection._execute
    return await execute(call, connection._conn)


async def ids(store: SqliteActivations, namespace: str = "guest") -> list[str]:
    return [each.activation_id for each in await store.recent(namespace, limit=10_000)]


def ids_of(batch: Sequence[Activation]) -> list[str]:
    """Newest first."""
    return [each.activation_id for each in reversed(batch)]


async def test_a_record_comes_back_equal_in_every_field(tmp_path: Path) -> None:
    full = an_activation(
        init_time=90,
        wait_time=-3,
        timed_out=True,
        cause="1" * 32,
        binding="zoe/mytools",
        blocking=True,
        main="start",
        caller_annotations=msgspec.Raw(b'[ {"key":"plan", "value":"\\ud800"} ]'),
        notes=(("peakMemory", 268435456), ("reason", "cold")),
        logs=("héllo", ""),
    )
    odd = an_activation(activation_id="Not-Hex", limits=None, outcome=an_outcome(b'{"n": 1.50, "n":2e0 }'))
    batch = [full, odd, *(an_activation(outcome=an_outcome(result)) for result in HARD_JSON)]
    async with activations(tmp_path / "file") as store:
        await store.put_many(batch)

        for activation in batch:
            assert await store.get("guest", activation.activation_id) == activation


async def test_an_id_and_its_bytes_are_not_the_same(tmp_path: Path) -> None:
    hexadecimal = "6" * 32
    batch = [an_activation(activation_id=each) for each in (hexadecimal, bytes.fromhex(hexadecimal).decode(), "A" * 32)]
    async with activations(tmp_path / "file") as store:
        await store.put_many(batch)

        assert await ids(store) == ids_of(batch)


async def test_ten_megabytes_of_logs_are_kept(tmp_path: Path) -> None:
    activation = an_activation(logs=tuple("ö" * 5000 for _ in range(1050)))
    async with activations(tmp_path / "file") as store:
        await store.put_many([activation])

        assert await store.get("guest", activation.activation_id) == activation


async def test_what_can_not_be_stored_is_refused_and_all_else_is_kept(tmp_path: Path) -> None:
    good = [an_activation() for _ in range(3)]
    too_large = an_activation(logs=("x" * 20_000,))
    no_unicode, no_unicode_either = an_activation(logs=("\ud800",)), an_activation(namespace="\ud800")
    too_late = an_activation(start=1 << 64, end=0)
    refused = [too_large, no_unicode, no_unicode_either, too_late]
    async with activations(tmp_path / "file") as store:
        await in_thread(store, lambda connection: connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000))

        with pytest.raises(RecordsRefused) as caught:
            await store.put_many([good[0], too_large, good[1], no_unicode, no_unicode_either, too_late, good[2]])

        assert set(caught.value.refused) == {each.activation_id for each in refused}
        assert "too big" in caught.value.refused[too_large.activation_id]
        assert await ids(store) == ids_of(good)


async def test_a_full_disk_is_unavailable_and_keeps_nothing_of_the_batch(tmp_path: Path) -> None:
    async with activations(tmp_path / "file") as store:
        await store.put_many([an_activation(namespace="before")])
        await inside(store).run("PRAGMA max_page_count = 50")

        with pytest.raises(StoreUnavailable, match="no room is left"):
            await store.put_many([an_activation(), an_activation(logs=("x" * 500_000,))])

        assert await ids(store) == []
        await inside(store).run("PRAGMA max_page_count = 1000000")
        await store.put_many([an_activation()])
        assert len(await ids(store)) == 1


async def test_a_file_that_another_process_holds_is_unavailable(tmp_path: Path) -> None:
    activation = an_activation()
    async with opened(tmp_path / "file", 0.01) as database, opened(tmp_path / "file", 0.01) as other:
        store = SqliteActivations(database, KeepSettings())

        async with other.transaction():
            with pytest.raises(StoreUnavailable, match="busy_timeout"):
                await store.put_many([activation])
        await store.put_many([activation])

        assert await store.get("guest", activation.activation_id) == activation


@pytest.mark.parametrize(("statement", "stored"), [("BEGIN", 0), ("INSERT", 0), ("UPDATE", 0), ("COMMIT", 200)])
async def test_a_cancelled_batch_is_there_as_a_whole_or_not_at_all(tmp_path: Path, statement: str, stored: int) -> None:
    batch = [an_activation() for _ in range(200)]
    loop = asyncio.get_running_loop()
    async with activations(tmp_path / "file") as store:

        def cancel_at(sql: str) -> None:
            if sql.lstrip().startswith(statement):
                loop.call_soon_threadsafe(writing.cancel)

        await in_thread(store, lambda connection: connection.set_trace_callback(cancel_at))
        writing = asyncio.ensure_future(store.put_many(batch))
        await asyncio.wait({writing})
        await in_thread(store, lambda connection: connection.set_trace_callback(None))

        assert writing.cancelled()
        assert len(await ids(store)) == stored
        await store.put_many(batch)
        assert await ids(store) == ids_of(batch)


async def test_nobody_reads_what_may_be_rolled_back(tmp_path: Path) -> None:
    async with activations(tmp_path / "file") as store:

        async def fail_while_somebody_reads() -> None:
            async with inside(store).transaction() as transaction:
                await transaction.run("UPDATE kept SET bytes = 1")
                readers.append(asyncio.ensure_future(inside(store).run("SELECT bytes FROM kept")))
                await asyncio.sleep(0)  # it has asked
                raise ZeroDivisionError

        readers: list[asyncio.Future[list[tuple[int]]]] = []
        with pytest.raises(ZeroDivisionError):
            await fail_while_somebody_reads()

        assert await readers[0] == [(0,)]


async def test_records_are_kept_until_their_age(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(7 * DAY))) as store:
        old, young, last = ([an_activation() for _ in range(3)] for _ in range(3))
        await store.put_many(old)
        clock.now += 4 * DAY
        await store.put_many(young)
        assert await ids(store) == ids_of(old + young)

        clock.now += 3 * DAY + 1
        await store.put_many(last)

        assert await ids(store) == ids_of(young + last)


async def test_age_is_looked_at_once_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(10))) as store:
        await store.put_many([an_activation()])
        clock.now += 59
        await store.put_many([an_activation()])
        assert len(await ids(store)) == 2

        clock.now += 1
        await store.put_many([an_activation()])

        assert len(await ids(store)) == 2


async def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(bytes=ByteSize(10_000))) as store:
        await store.put_many([an_activation()])
        clock.now -= 30 * DAY

        await store.put_many([an_activation(logs=("x" * 20_000,)), an_activation()])

        assert len(await ids(store)) == 1


async def test_without_bounds_everything_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    keep = KeepSettings(age=SecondsOrZero(0), bytes=ByteSize(0))
    async with activations(tmp_path / "file", clock=clock, keep=keep) as store:
        await store.put_many([an_activation(logs=("x" * 1_000_000,))])
        clock.now += 10_000 * DAY

        await store.put_many([an_activation()])

        assert len(await ids(store)) == 2


async def test_the_oldest_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(bytes=ByteSize(400_000))) as store:
        batches = [[an_activation(logs=("x" * 9_800,)) for _ in range(10)] for _ in range(12)]

        for batch in batches:
            clock.now += 60
            await store.put_many(batch)

        kept = await ids(store)
        assert kept == ids_of([each for batch in batches for each in batch])[: len(kept)]
        assert 300_000 < len(kept) * 10_000 <= 400_000 + 10_000


async def test_the_size_of_the_file_is_bounded(tmp_path: Path) -> None:
    path, clock, bound = tmp_path / "file", Clock(), 1_000_000
    async with activations(path, clock=clock, keep=KeepSettings(bytes=ByteSize(bound))) as store:
        for number in range(60):  # six megabytes
            clock.now += 60
            await store.put_many([an_activation(logs=("x" * (number * 7),)) for _ in range(300)])

    assert path.stat().st_size < 2 * bound
    assert not path.with_name("file-wal").exists()


async def test_what_is_counted_is_what_is_there(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(bytes=ByteSize(50_000))) as store:
        for number in range(30):
            clock.now += 60
            batch = [an_activation(logs=("x" * number * 100,)) for _ in range(10)]
            await store.put_many([*batch, *batch])
            await store.put_many(batch)

        counted = await inside(store).run("SELECT bytes FROM kept")
        assert counted == await inside(store).run("SELECT sum(size) FROM activations")


async def test_much_is_deleted_in_small_pieces_batch_after_batch(tmp_path: Path) -> None:
    clock = Clock()
    old = [an_activation() for _ in range(4_000)]
    async with activations(tmp_path / "file", clock=clock) as store:
        await store.put_many(old)
    clock.now += 8 * DAY
    async with activations(tmp_path / "file", clock=clock) as store:
        left = []

        for _ in range(5):  # no minute between them
            await store.put_many([an_activation(namespace="new")])
            left.append(len(await ids(store)))

        assert left == [3000, 2000, 1000, 0, 0]
        assert len(await ids(store, "new")) == 5


async def test_a_bound_that_is_lowered_makes_the_file_smaller(tmp_path: Path) -> None:
    path, clock = tmp_path / "file", Clock()
    async with activations(path, clock=clock) as store:
        await store.put_many([an_activation(logs=("x" * 20_000,)) for _ in range(1_000)])
    large = path.stat().st_size
    async with activations(path, clock=clock, keep=KeepSettings(bytes=ByteSize(1_000_000))) as store:
        for _ in range(20):
            await store.put_many([an_activation()])

    assert large > 20_000_000
    assert path.stat().st_size < 4_000_000


async def test_pruning_that_fails_fails_no_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, batch = Clock(), [an_activation() for _ in range(3)]
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(10))) as store:
        await store.put_many([an_activation(namespace="old")])
        clock.now += 60
        await inside(store).run(
            "CREATE TRIGGER no_disk BEFORE DELETE ON activations BEGIN SELECT no_such_function(); END"
        )

        await store.put_many(batch)

        assert await ids(store) == ids_of(batch)
        assert "can't be deleted now" in caplog.text


async def test_a_follower_misses_nothing_when_the_newest_record_is_old(tmp_path: Path) -> None:
    clock, batch = Clock(), [an_activation() for _ in range(2)]
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(10))) as store:
        await store.put_many([an_activation(), an_activation()])
        following = store.follow("guest")
        first = asyncio.ensure_future(anext(following))
        await inside(store).run("SELECT 1")  # behind the question where to begin
        clock.now += 60

        await store.put_many(batch)  # the two before are deleted now

        assert [await first, await anext(following)] == batch


async def test_a_row_that_is_no_record_is_unavailable(tmp_path: Path) -> None:
    activation = an_activation()
    async with activations(tmp_path / "file") as store:
        await store.put_many([activation])
        await inside(store).run("UPDATE activations SET record = x'c1'")

        with pytest.raises(StoreUnavailable, match="a record can't be read"):
            await store.get("guest", activation.activation_id)
