"""What the SQLite store of records promises beyond the contract."""

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest

from invoker.config import SecondsOrZero
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.testing.activation_store import HARD_JSON
from invoker.testing.builders import an_activation, an_outcome
from invoker_sqlite.activations import SqliteActivations
from invoker_sqlite.database import opened
from invoker_sqlite.settings import KeepSettings
from tests.plugins.store_sqlite.stores import Clock, activations, ids, ids_of, in_thread, inside


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
