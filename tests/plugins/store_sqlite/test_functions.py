"""What the SQLite store of functions promises beyond the contract."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from invoker.entities.function import Limits
from invoker.errors import FunctionNotFound, FunctionUnreadable, StoreError
from invoker.testing.builders import a_function, a_ref
from invoker_sqlite.database import Database, opened
from invoker_sqlite.functions import SqliteFunctions
from tests.plugins.store_sqlite.stores import rows


@asynccontextmanager
async def functions(path: Path) -> AsyncIterator[tuple[SqliteFunctions, Database]]:
    async with opened(path, 5) as database:
        yield SqliteFunctions(database), database


async def test_a_function_comes_back_equal_in_every_field(tmp_path: Path) -> None:
    function = a_function(
        path="guest/pkg",
        version="1.2.3",
        kind="blackbox",
        image="example/own:1",
        code="UEsDBBQA",
        binary=True,
        main="start",
        limits=Limits(1, 2, 3, 4),
        provide_api_key=False,
        annotations=msgspec.Raw(b'[ {"key":"a", "value":"\\ud83d\\ude00"}, {"key":"provide-api-key","value":false} ]'),
        parameters=msgspec.Raw(b'[{"key":"n","value":1.50}]'),
    )
    async with functions(tmp_path / "file") as (store, _):
        revision = await store.put(function)

        fetched = await store.fetch(a_ref(function), exact=False)

    assert fetched == msgspec.structs.replace(function, revision=revision)


async def test_revisions_are_numbered_as_in_couchdb(tmp_path: Path) -> None:
    function = a_function()
    async with functions(tmp_path / "file") as (store, _):
        revisions = [await store.put(function), await store.put(function)]
        await store.delete(a_ref(function))
    async with functions(tmp_path / "file") as (store, _):
        revisions.append(await store.put(function))

    assert [revision.partition("-")[0] for revision in revisions] == ["1", "2", "4"]
    assert len({revision.partition("-")[2] for revision in revisions}) == 1  # it says what the content is


async def test_an_older_revision_is_gone(tmp_path: Path) -> None:
    function = a_function()
    async with functions(tmp_path / "file") as (store, _):
        old = await store.put(function)
        await store.put(function)

        with pytest.raises(FunctionNotFound):
            await store.fetch(a_ref(function, revision=old), exact=True)


async def test_a_listing_reads_no_code(tmp_path: Path) -> None:
    async with functions(tmp_path / "file") as (store, _):
        await store.put(a_function())

        assert [function.code for function in await store.functions("guest")] == [None]


@pytest.mark.parametrize("head", ["x'c1'", "x'93'", "x'90'", "'text'", "7"])
async def test_a_row_that_is_no_function_is_unreadable(tmp_path: Path, head: str) -> None:
    function = a_function()
    async with functions(tmp_path / "file") as (store, database):
        await store.put(function)
        await rows(database, f"UPDATE functions SET head = {head}")

        with pytest.raises(FunctionUnreadable) as caught:
            await store.fetch(a_ref(function), exact=False)

    assert caught.value.document_id == function.document_id


@pytest.mark.parametrize("changes", [{"code": "\ud800"}, {"name": "\ud800"}, {"main": "\ud800"}])
async def test_what_is_no_unicode_is_not_stored(tmp_path: Path, changes: dict[str, str]) -> None:
    async with functions(tmp_path / "file") as (store, _):
        with pytest.raises(FunctionUnreadable, match="no Unicode"):
            await store.put(a_function(**changes))

        assert await store.functions("guest") == []


async def test_what_is_too_large_is_not_stored(tmp_path: Path) -> None:
    async with functions(tmp_path / "file") as (store, database):
        await database.run(lambda connection: connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000))

        with pytest.raises(StoreError, match=r"can't be stored: .*too big"):
            await store.put(a_function(code="x" * 20_000))

        assert await store.functions("guest") == []
