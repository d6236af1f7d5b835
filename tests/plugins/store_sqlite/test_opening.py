"""What is said of a file that can't be used, and what a new one looks like."""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from invoker.errors import StoreUnavailable
from invoker_sqlite.database import APPLICATION, STEPS, opened
from tests.plugins.store_sqlite.stores import rows


async def fails_to_open(path: Path, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message) as caught:
        async with opened(path, 0.1):
            pytest.fail("it was opened")
    assert str(path) in str(caught.value)
    assert "sqlite.path" in str(caught.value)


async def kept(path: Path, busy_timeout: float) -> list[tuple[int, int]]:
    async with opened(path, busy_timeout) as database:
        return await rows(database, "SELECT * FROM kept")


def write(path: Path, *statements: str) -> None:
    """Do as another program does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_directory_and_file_are_made_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "functions-invoker" / "invoker.sqlite3"
    async with opened(path, 5) as database:
        await rows(database, "UPDATE kept SET bytes = 0")
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (path.parent, *path.parent.iterdir())}

    assert modes == {
        "functions-invoker": 0o700,
        "invoker.sqlite3": 0o600,
        "invoker.sqlite3-wal": 0o600,
        "invoker.sqlite3-shm": 0o600,
    }


async def test_a_file_is_opened_again_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path / "file", 5) as database:
        await rows(database, "UPDATE kept SET bytes = 42")

    async with opened(tmp_path / "file", 5) as database:
        assert await rows(database, "SELECT bytes FROM kept") == [(42,)]
        assert await rows(database, "PRAGMA user_version") == [(len(STEPS),)]
        assert await rows(database, "PRAGMA application_id") == [(APPLICATION,)]
        assert await rows(database, "PRAGMA journal_mode") == [("wal",)]
        assert await rows(database, "PRAGMA auto_vacuum") == [(2,)]


async def test_an_older_file_is_brought_to_the_newer_schema(tmp_path: Path) -> None:
    newer = (*STEPS, ("ALTER TABLE kept ADD COLUMN extra INTEGER NOT NULL DEFAULT 7",))
    async with opened(tmp_path / "file", 5) as database:
        await rows(database, "UPDATE kept SET bytes = 42")

    for _ in range(2):  # the second time there is nothing to do
        async with opened(tmp_path / "file", 5, steps=newer) as database:
            assert await rows(database, "SELECT bytes, extra FROM kept") == [(42, 7)]


async def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    broken = (*STEPS, ("ALTER TABLE kept ADD COLUMN extra INTEGER", "ALTER TABLE nothing ADD COLUMN extra INTEGER"))
    async with opened(tmp_path / "file", 5):
        pass

    with pytest.raises(StoreUnavailable):
        async with opened(tmp_path / "file", 5, steps=broken):
            pytest.fail("it was opened")

    async with opened(tmp_path / "file", 5) as database:
        assert await rows(database, "PRAGMA user_version") == [(len(STEPS),)]
        assert await rows(database, "SELECT * FROM kept") == [(0, 0)]


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "file", 5, steps=(*STEPS, ("CREATE TABLE later (x)",))):
        pass

    await fails_to_open(tmp_path / "file", "newer functions-invoker .its schema is 2, this one knows 1.: upgrade")


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("my notes\n" * 1000)

    await fails_to_open(path, "it is no database")

    assert path.read_text() == "my notes\n" * 1000


async def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, "CREATE TABLE functions (x)")
    before = path.read_bytes()

    await fails_to_open(path, "another program's database")

    assert path.read_bytes() == before


async def test_a_damaged_file_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with opened(path, 5):
        pass
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)

    await fails_to_open(path, "damaged")


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    await fails_to_open(tmp_path, "can't be opened")


async def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")

    await fails_to_open(tmp_path / "notes" / "file", "can't be opened")
    await fails_to_open(tmp_path / "notes" / "sub" / "file", "can't be created")


async def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    where = Path("/proc/self") if os.geteuid() == 0 else tmp_path / "locked"  # nothing is locked for root but this
    where.mkdir(exist_ok=True, mode=0o500)

    await fails_to_open(where / "file", "can't be created .*: make its directory writable")


async def test_a_new_file_that_another_process_locks_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    opening = asyncio.ensure_future(kept(path, 60))

    with pytest.raises(StoreUnavailable, match="busy_timeout"):
        await kept(path, 0.05)
    other.execute("ROLLBACK")
    other.close()

    assert await opening == [(0, 0)]
