"""How long records are kept, and how many bytes of them."""

import sqlite3
from pathlib import Path

import pytest

from invoker.config import ByteSize, SecondsOrZero
from invoker.errors import StoreUnavailable
from invoker.testing.builders import an_activation, as_records
from invoker_sqlite.settings import KeepSettings
from tests.plugins.store_sqlite.stores import DAY, Clock, activations, ids, ids_of, inside, rows


async def test_records_are_kept_until_their_age(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(7 * DAY))) as store:
        old, young, last = ([an_activation() for _ in range(3)] for _ in range(3))
        await store.put_many(as_records(old))
        clock.now += 4 * DAY
        await store.put_many(as_records(young))
        assert await ids(store) == ids_of(old + young)

        clock.now += 3 * DAY + 1
        await store.put_many(as_records(last))

        assert await ids(store) == ids_of(young + last)


async def test_age_is_looked_at_with_each_batch(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(10))) as store:
        kept = []
        for _ in range(5):
            await store.put_many(as_records([an_activation()]))
            kept.append(len(await ids(store)))
            clock.now += 4

        assert kept == [1, 2, 3, 3, 3]


async def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(bytes=ByteSize(10_000))) as store:
        await store.put_many(as_records([an_activation()]))
        clock.now -= 30 * DAY

        await store.put_many(as_records([an_activation(logs=("x" * 20_000,)), an_activation()]))

        assert len(await ids(store)) == 1


async def test_without_bounds_everything_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    keep = KeepSettings(age=SecondsOrZero(0), bytes=ByteSize(0))
    async with activations(tmp_path / "file", clock=clock, keep=keep) as store:
        await store.put_many(as_records([an_activation(logs=("x" * 1_000_000,))]))
        clock.now += 10_000 * DAY

        await store.put_many(as_records([an_activation()]))

        assert len(await ids(store)) == 2


async def test_the_oldest_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(bytes=ByteSize(400_000))) as store:
        batches = [[an_activation(logs=("x" * 9_800,)) for _ in range(10)] for _ in range(12)]

        for batch in batches:
            clock.now += 60
            await store.put_many(as_records(batch))

        kept = await ids(store)
        assert kept == ids_of([each for batch in batches for each in batch])[: len(kept)]
        assert 300_000 < len(kept) * 10_000 <= 400_000 + 10_000


async def test_the_size_of_the_file_is_bounded(tmp_path: Path) -> None:
    path, clock, bound = tmp_path / "file", Clock(), 1_000_000
    async with activations(path, clock=clock, keep=KeepSettings(bytes=ByteSize(bound))) as store:
        for number in range(60):  # six megabytes
            clock.now += 60
            await store.put_many(as_records([an_activation(logs=("x" * (number * 7),)) for _ in range(300)]))

    assert path.stat().st_size < 2 * bound
    assert not path.with_name("file-wal").exists()


async def test_what_is_counted_is_what_is_there(tmp_path: Path) -> None:
    clock = Clock()
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(bytes=ByteSize(50_000))) as store:
        for number in range(30):
            clock.now += 60
            batch = [an_activation(logs=("x" * number * 100,)) for _ in range(10)]
            await store.put_many(as_records([*batch, *batch]))
            await store.put_many(as_records(batch))

        counted = await rows(inside(store), "SELECT bytes FROM kept")
        assert counted == await rows(inside(store), "SELECT sum(size) FROM activations")


async def test_much_is_deleted_in_small_pieces_batch_after_batch(tmp_path: Path) -> None:
    clock = Clock()
    old = [an_activation() for _ in range(4_000)]
    async with activations(tmp_path / "file", clock=clock) as store:
        await store.put_many(as_records(old))
    clock.now += 8 * DAY
    async with activations(tmp_path / "file", clock=clock) as store:
        left = []

        for _ in range(5):  # no minute between them
            await store.put_many(as_records([an_activation(namespace="new")]))
            left.append(len(await ids(store)))

        assert left == [3000, 2000, 1000, 0, 0]
        assert len(await ids(store, "new")) == 5


async def test_of_large_records_fewer_are_deleted_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_sqlite.activations._CHUNK_BYTES", 50_000)
    clock, left = Clock(), []
    async with activations(tmp_path / "file", clock=clock) as store:
        await store.put_many(as_records([an_activation(logs=("x" * 20_000,)) for _ in range(8)]))
        clock.now += 8 * DAY

        for _ in range(4):
            await store.put_many(as_records([an_activation(namespace="new")]))
            left.append(len(await ids(store)))

    assert left == [5, 2, 0, 0]


@pytest.mark.parametrize(("records", "size"), [(500, 160), (500, 2_100), (40, 100_000), (3, 1_500_000)])
async def test_a_burst_leaves_the_file_within_twice_the_bound(tmp_path: Path, records: int, size: int) -> None:
    path, bound, sizes = tmp_path / "file", 4_000_000, []
    async with activations(path, keep=KeepSettings(bytes=ByteSize(bound))) as store:  # of a clock that stands still
        for _ in range(6 * bound // (records * size) + 1):
            await store.put_many(as_records([an_activation(logs=("x" * size,)) for _ in range(records)]))
            sizes += await rows(inside(store), "SELECT page_count * 4096, bytes FROM pragma_page_count, kept")

    pages, kept = map(max, zip(*sizes, strict=True))
    assert path.stat().st_size <= pages < 2 * (bound + records * size)
    assert kept <= bound


async def test_a_bound_that_is_lowered_makes_the_file_smaller(tmp_path: Path) -> None:
    path, clock = tmp_path / "file", Clock()
    async with activations(path, clock=clock) as store:
        await store.put_many(as_records([an_activation(logs=("x" * 20_000,)) for _ in range(1_000)]))
    large = path.stat().st_size
    async with activations(path, clock=clock, keep=KeepSettings(bytes=ByteSize(1_000_000))) as store:
        for _ in range(20):
            await store.put_many(as_records([an_activation()]))

    assert large > 20_000_000
    assert path.stat().st_size < 4_000_000


async def test_a_batch_that_is_lost_by_pruning_is_said_to_be_with_the_reason(tmp_path: Path) -> None:
    """What interrupts a statement, as a full disk may, takes the whole transaction with it."""
    clock, batch = Clock(), [an_activation()]
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(10))) as store:
        await store.put_many(as_records([an_activation(namespace="old")]))
        clock.now += 60

        def interrupt(connection: sqlite3.Connection) -> None:
            connection.set_trace_callback(lambda sql: connection.interrupt() if sql.startswith("DELETE") else None)

        await inside(store).run(interrupt)
        with pytest.raises(StoreUnavailable, match="interrupted"):
            await store.put_many(as_records(batch))
        assert await ids(store) == []
        await inside(store).run(lambda connection: connection.set_trace_callback(None))
        await store.put_many(as_records(batch))

        assert await ids(store) == ids_of(batch)


async def test_pruning_that_fails_fails_no_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, batch = Clock(), [an_activation() for _ in range(3)]
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(10))) as store:
        await store.put_many(as_records([an_activation(namespace="old")]))
        clock.now += 60
        await rows(
            inside(store), "CREATE TRIGGER no_disk BEFORE DELETE ON activations BEGIN SELECT no_such_function(); END"
        )

        for each in batch:
            await store.put_many(as_records([each]))

        assert await ids(store) == ids_of(batch)
        assert [text.count("can't be deleted now: no such function") for text in caplog.messages] == [1]  # once
