"""A file that is deleted, moved or replaced while it is open: what waits goes to the file that has the name then."""

import asyncio
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from subprocess import PIPE

import pytest

from invoker import Settings
from invoker.errors import FunctionNotFound, StoreUnavailable
from invoker.testing.builders import a_function, a_ref, an_activation, as_records
from invoker_sqlite import open_activation_store, open_function_store
from invoker_sqlite.activations import SqliteActivations
from invoker_sqlite.database import opened
from invoker_sqlite.functions import SqliteFunctions
from invoker_sqlite.settings import SqliteSettings
from tests.plugins.store_sqlite.stores import activations, ids, ids_of

WRITER = Path(__file__).with_name("writer.py")


@asynccontextmanager
async def both(path: Path) -> AsyncIterator[tuple[SqliteActivations, SqliteFunctions]]:
    """Both stores, as an invoker has them."""
    settings = Settings.of(SqliteSettings(path=path))
    async with open_activation_store(settings) as records, open_function_store(settings) as functions:
        assert isinstance(records, SqliteActivations)
        assert isinstance(functions, SqliteFunctions)
        yield records, functions


def whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


async def test_records_go_on_in_a_new_file_when_theirs_was_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file"
    before, after = [an_activation()], [an_activation() for _ in range(3)]
    async with activations(path) as store:
        await store.put_many(as_records(before))
        path.unlink()

        for each in after:
            await store.put_many(as_records([each]))

        async with activations(path) as another:
            assert await ids(another) == await ids(store) == ids_of(after)
    assert [message for message in caplog.messages if "was deleted or replaced" in message] == [
        f"{path} was deleted or replaced: from now on the file of that name has the data"
    ]
    assert whole(path)


async def test_a_directory_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    path, batch = tmp_path / "state" / "file", [an_activation()]
    async with activations(path) as store:
        await store.put_many(as_records([an_activation()]))
        shutil.rmtree(path.parent)

        await store.put_many(as_records(batch))

        assert await ids(store) == ids_of(batch)


async def test_a_file_that_was_moved_takes_all_with_it_that_was_stored(tmp_path: Path) -> None:
    path, moved = tmp_path / "file", tmp_path / "moved"
    before, after = [an_activation() for _ in range(300)], [an_activation()]
    async with activations(path) as store:
        await store.put_many(as_records(before))
        path.rename(moved)
        await store.put_many(as_records(after))

    async with activations(moved) as kept, activations(path) as store:
        assert (await ids(kept), await ids(store)) == (ids_of(before), ids_of(after))
    assert whole(moved)


@pytest.mark.parametrize("first", ["records", "functions"])
async def test_another_file_in_its_place_is_used_as_it_is(tmp_path: Path, first: str) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    old, restored, new = ([an_activation() for _ in range(50)] for _ in range(3))
    function = a_function()
    async with both(other) as (records, functions):
        await records.put_many(as_records(restored))
        await functions.put(function)
    async with both(path) as (records, functions):
        await records.put_many(as_records(old))
        other.replace(path)

        if first == "records":
            await records.put_many(as_records(new))
        assert (await functions.fetch(a_ref(function), exact=False)).code == function.code
        if first == "functions":
            await records.put_many(as_records(new))

        async with activations(path) as another:
            assert await ids(another) == await ids(records) == ids_of(restored + new)
    assert whole(path)


async def test_a_file_in_its_place_that_is_no_database_is_unavailable_until_it_is_gone(tmp_path: Path) -> None:
    path, batch = tmp_path / "file", [an_activation()]
    async with activations(path) as store:
        (tmp_path / "notes").write_text("mine\n" * 1000)
        (tmp_path / "notes").replace(path)

        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="it is no database"):
                await store.put_many(as_records(batch))
        assert path.read_text() == "mine\n" * 1000
        path.unlink()
        await store.put_many(as_records(batch))

        assert await ids(store) == ids_of(batch)


async def test_actions_are_those_of_the_file_that_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, function = tmp_path / "file", a_function()
    async with both(path) as (records, functions):
        await functions.put(function)
        path.unlink()

        for _ in range(2):
            with pytest.raises(FunctionNotFound):
                await functions.fetch(a_ref(function), exact=False)
        await functions.put(function)
        await records.put_many(as_records([an_activation()]))

        assert (await functions.fetch(a_ref(function), exact=False)).code == function.code
    told = f"{path} was deleted or replaced: from now on the file of that name has the"
    assert [message for message in caplog.messages if told in message] == [
        f"{told} actions",
        f"{told} activation records",
    ]


async def test_another_process_that_makes_it_anew_shares_it_with_those_who_had_the_old_one(tmp_path: Path) -> None:
    """SQLite's own files beside the old one would be taken for those of the new one: "disk I/O error"."""
    path, batch = tmp_path / "file", [an_activation()]
    async with both(path) as (records, functions):
        await records.put_many(as_records([an_activation() for _ in range(50)]))
        path.unlink()
        process = await asyncio.create_subprocess_exec(sys.executable, WRITER, path, stdout=PIPE)
        assert process.stdout is not None
        said = (await process.stdout.readline()).decode().rstrip()

        await records.put_many(as_records(batch))
        with pytest.raises(FunctionNotFound):
            await functions.fetch(a_ref(a_function()), exact=False)
        process.kill()
        await process.wait()

        stored = await ids(records)
    assert said in stored
    assert batch[0].activation_id in stored
    assert whole(path)


async def test_a_file_that_was_deleted_while_it_is_opened_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, batch = tmp_path / "file", [an_activation()]
    connect = sqlite3.connect

    def connect_in_vain(*arguments: object, **options: object) -> sqlite3.Connection:
        monkeypatch.undo()
        connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
        connection.execute("SELECT count(*) FROM sqlite_master")
        path.unlink()
        path.touch()
        return connection

    async with opened(path, 5):
        pass
    monkeypatch.setattr("sqlite3.connect", connect_in_vain)
    async with opened(path, 5) as database:
        store = SqliteActivations(database, SqliteSettings().keep, (0, 0))

        await store.put_many(as_records(batch))

        async with activations(path) as another:
            assert await ids(another) == ids_of(batch)
