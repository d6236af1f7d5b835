"""What the SQLite store of records promises beyond the contract."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from invoker import Settings
from invoker.config import SecondsOrZero
from invoker.contracts import Part
from invoker.entities.activation import ActivationRecord
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.testing.activation_store import HARD_JSON
from invoker.testing.builders import NOW, a_function, a_ref, an_activation, an_outcome, as_records
from invoker.wire.record import recorded
from invoker_sqlite import open_activation_store, open_function_store
from invoker_sqlite.activations import INSERT, SqliteActivations, row_of
from invoker_sqlite.database import opened, transaction
from invoker_sqlite.settings import KeepSettings, SqliteSettings
from tests.plugins.store_sqlite.stores import Clock, activations, ids, ids_of, inside, rows


def odd(**changes: object) -> ActivationRecord:
    return msgspec.structs.replace(*as_records([an_activation()]), **changes)


def numbers(store: Part) -> dict[str, float]:
    return {
        " ".join([family.name, *labels.values()]): value
        for family in store.metrics()
        for labels, value in family.samples
    }


async def test_a_record_comes_back_equal_in_every_field_that_documents_have(tmp_path: Path) -> None:
    full = an_activation(
        init_time=90,
        wait_time=-3,
        timed_out=True,
        cause="1" * 32,
        binding="zoe/mytools",
        notes=(("peakMemory", 268435456), ("reason", "cold")),
        logs=("héllo", ""),
    )
    odd = an_activation(activation_id="Not-Hex", limits=None, outcome=an_outcome(b'{"n": 1.50, "n":2e0 }'))
    batch = [full, odd, *(an_activation(outcome=an_outcome(result)) for result in HARD_JSON)]
    async with activations(tmp_path / "file") as store:
        await store.put_many(as_records(batch))

        for activation in batch:
            assert await store.get("guest", activation.activation_id) == activation


async def test_the_go_variants_records_can_be_read_too(tmp_path: Path) -> None:
    activation = an_activation(main="start", caller_annotations=msgspec.Raw(b'[{"key":"plan","value":"free"}]'))
    async with activations(tmp_path / "file") as store:
        await store.put_many([recorded(activation, compat="functions", updated=NOW)])

        read = await store.get("guest", activation.activation_id)

    assert read == msgspec.structs.replace(activation, caller_annotations=None, notes=(("plan", "free"),))


async def test_an_id_and_its_bytes_are_not_the_same(tmp_path: Path) -> None:
    hexadecimal = "6" * 32
    batch = [an_activation(activation_id=each) for each in (hexadecimal, bytes.fromhex(hexadecimal).decode(), "A" * 32)]
    async with activations(tmp_path / "file") as store:
        await store.put_many(as_records(batch))

        assert await ids(store) == ids_of(batch)


async def test_ten_megabytes_of_logs_are_kept(tmp_path: Path) -> None:
    activation = an_activation(logs=tuple("ö" * 5000 for _ in range(1050)))
    async with activations(tmp_path / "file") as store:
        await store.put_many(as_records([activation]))

        assert await store.get("guest", activation.activation_id) == activation


async def test_what_can_not_be_stored_is_refused_and_all_else_is_kept(tmp_path: Path) -> None:
    kept = [an_activation() for _ in range(3)]
    good = as_records(kept)
    refused = [
        *as_records([an_activation(logs=("x" * 20_000,))]),
        odd(namespace=chr(0xD800)),
        odd(start=1 << 64),
        odd(fields=object()),
        odd(action=None),
    ]
    async with activations(tmp_path / "file") as store:
        await inside(store).run(lambda connection: connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000))

        with pytest.raises(RecordsRefused) as caught:
            await store.put_many([good[0], *refused[:2], good[1], *refused[2:], good[2]])

        assert set(caught.value.refused) == {each.activation_id for each in refused}
        assert "too big" in caught.value.refused[refused[0].activation_id]
        assert await ids(store) == ids_of(kept)


async def test_a_full_disk_is_unavailable_and_keeps_nothing_of_the_batch(tmp_path: Path) -> None:
    async with activations(tmp_path / "file") as store:
        await store.put_many(as_records([an_activation(namespace="before")]))
        await rows(inside(store), "PRAGMA max_page_count = 50")

        with pytest.raises(StoreUnavailable, match="no room is left"):
            await store.put_many(as_records([an_activation(), an_activation(logs=("x" * 500_000,))]))

        assert await ids(store) == []
        await rows(inside(store), "PRAGMA max_page_count = 1000000")
        await store.put_many(as_records([an_activation()]))
        assert len(await ids(store)) == 1


async def test_a_file_that_another_process_holds_is_unavailable(tmp_path: Path) -> None:
    activation = an_activation()
    async with opened(tmp_path / "file", 0.01) as database:
        store = SqliteActivations(database, KeepSettings(), (0, 0))

        with closing(sqlite3.connect(tmp_path / "file", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="busy_timeout"):
                await store.put_many(as_records([activation]))
        await store.put_many(as_records([activation]))

        assert await store.get("guest", activation.activation_id) == activation


async def test_a_write_that_fails_is_a_fault_until_one_succeeds(tmp_path: Path) -> None:
    async with activations(tmp_path / "file") as store:
        assert store.faults() == ()
        await rows(inside(store), "PRAGMA max_page_count = 1")

        with pytest.raises(StoreUnavailable) as caught:
            await store.put_many(as_records([an_activation(logs=("x" * 500_000,))]))
        assert store.faults() == (str(caught.value),)
        await rows(inside(store), "PRAGMA max_page_count = 1000000")
        await store.put_many(as_records([an_activation()]))

        assert store.faults() == ()


async def test_records_that_are_refused_are_no_fault(tmp_path: Path) -> None:
    async with activations(tmp_path / "file") as store:
        with pytest.raises(RecordsRefused):
            await store.put_many([odd(namespace=chr(0xD800))])

        assert store.faults() == ()


async def test_the_size_of_the_file_and_what_is_in_it_are_told(tmp_path: Path) -> None:
    path, clock = tmp_path / "file", Clock()
    async with activations(path, clock=clock, keep=KeepSettings(age=SecondsOrZero(10))) as store:
        told = [numbers(store)["gauge_sqlite_records"]]
        for _ in range(3):
            await store.put_many(as_records([an_activation(logs=("hello",)) for _ in range(7)]))
            told.append(numbers(store)["gauge_sqlite_records"])
            clock.now += 60

        ((size,),) = await rows(inside(store), "SELECT bytes FROM kept")
        assert numbers(store)["gauge_sqlite_records_bytes"] == size
        assert numbers(store)["gauge_sqlite_file_bytes database"] == path.stat().st_size
        assert numbers(store)["gauge_sqlite_file_bytes wal"] == path.with_name("file-wal").stat().st_size
    assert told == [0, 7, 7, 7]  # what is too old is deleted with the batch
    async with open_activation_store(Settings.of(SqliteSettings(path=path))) as again:
        assert numbers(again)["gauge_sqlite_records"] == 7


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "UPDATE", "COMMIT"])
async def test_a_batch_that_is_cancelled_once_it_has_begun_is_there_as_a_whole(tmp_path: Path, statement: str) -> None:
    batch = [an_activation() for _ in range(200)]
    loop = asyncio.get_running_loop()
    async with activations(tmp_path / "file") as store:

        def cancel_at(sql: str) -> None:
            if sql.lstrip().startswith(statement):
                loop.call_soon_threadsafe(writing.cancel)

        await inside(store).run(lambda connection: connection.set_trace_callback(cancel_at))
        writing = asyncio.ensure_future(store.put_many(as_records(batch)))
        await asyncio.wait({writing})
        await inside(store).run(lambda connection: connection.set_trace_callback(None))

        assert writing.cancelled()
        assert await ids(store) == ids_of(batch)
        await store.put_many(as_records(batch))
        assert await ids(store) == ids_of(batch)


async def test_a_batch_that_is_cancelled_before_it_has_begun_is_not_there(tmp_path: Path) -> None:
    batch, go_on = [an_activation()], threading.Event()
    async with activations(tmp_path / "file") as store:
        before = asyncio.ensure_future(inside(store).run(lambda _: go_on.wait(10)))
        writing = asyncio.ensure_future(store.put_many(as_records(batch)))
        await asyncio.sleep(0)  # both are in the queue

        writing.cancel()
        await asyncio.wait({writing})
        go_on.set()

        assert await before
        assert await ids(store) == []


async def test_what_has_begun_is_done_to_its_end_before_the_file_is_closed(tmp_path: Path) -> None:
    batch, begun = [an_activation()], asyncio.Event()
    loop, go_on = asyncio.get_running_loop(), threading.Event()

    def write_late(connection: sqlite3.Connection) -> None:
        with transaction(connection):
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(10)
            connection.execute(INSERT, row_of(*as_records(batch), 1))

    async with activations(tmp_path / "file") as store:
        writing = asyncio.ensure_future(inside(store).run(write_late))
        await begun.wait()
        writing.cancel()
        loop.call_soon(go_on.set)

    assert not (tmp_path / "file-wal").exists()  # it is closed
    async with activations(tmp_path / "file") as store:
        assert await ids(store) == ids_of(batch)


async def test_nobody_reads_what_is_rolled_back(tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        with transaction(connection):
            connection.execute("UPDATE kept SET bytes = 1")
            raise ZeroDivisionError

    async with activations(tmp_path / "file") as store:
        failing = asyncio.ensure_future(inside(store).run(fail))
        reading = asyncio.ensure_future(rows(inside(store), "SELECT bytes FROM kept"))

        with pytest.raises(ZeroDivisionError):
            await failing
        assert await reading == [(0,)]


async def test_a_function_is_fetched_while_records_are_being_written(tmp_path: Path) -> None:
    settings = Settings.of(SqliteSettings(path=tmp_path / "file"))
    function, loop = a_function(), asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()

    def write(connection: sqlite3.Connection) -> None:
        with transaction(connection):
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(10)

    async with open_activation_store(settings) as records, open_function_store(settings) as functions:
        assert isinstance(records, SqliteActivations)
        assert functions.catalog is not None
        await functions.catalog.put(function)
        writing = asyncio.ensure_future(inside(records).run(write))
        await begun.wait()

        fetched = await functions.fetch(a_ref(function), exact=False)

        assert fetched.code == function.code
        assert not writing.done()
        go_on.set()
        await writing


async def test_a_follower_misses_nothing_when_the_newest_record_is_old(tmp_path: Path) -> None:
    clock, batch = Clock(), [an_activation() for _ in range(2)]
    async with activations(tmp_path / "file", clock=clock, keep=KeepSettings(age=SecondsOrZero(10))) as store:
        await store.put_many(as_records([an_activation(), an_activation()]))
        following = store.follow("guest")
        first = asyncio.ensure_future(anext(following))
        await rows(inside(store), "SELECT 1")  # behind the question where to begin
        clock.now += 60

        await store.put_many(as_records(batch))  # the two before are deleted now

        assert [await first, await anext(following)] == batch


async def test_a_row_that_is_no_record_is_unavailable(tmp_path: Path) -> None:
    activation = an_activation()
    async with activations(tmp_path / "file") as store:
        await store.put_many(as_records([activation]))
        await rows(inside(store), "UPDATE activations SET record = x'c1'")

        with pytest.raises(StoreUnavailable, match="a record can't be read"):
            await store.get("guest", activation.activation_id)
