"""An empty batch, as `invoker check` puts it: would records be stored? The file is left as it is."""

import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from invoker.errors import StoreUnavailable
from invoker.testing.builders import an_activation, as_records
from tests.plugins.store_sqlite.stores import activations, ids, ids_of, inside, rows

NOBODY = 65534
PAGE = 4096
CONTENT = ("SELECT * FROM activations", "SELECT * FROM kept", "PRAGMA page_count", "PRAGMA cache_size")


async def filled(path: Path) -> None:
    async with activations(path) as store:
        await store.put_many(as_records([an_activation() for _ in range(2000)]))


def damage(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xff" * PAGE)


async def test_a_file_that_takes_records_is_left_as_it_is(tmp_path: Path) -> None:
    batch = [an_activation() for _ in range(3)]
    async with activations(tmp_path / "file") as store:
        await store.put_many(as_records(batch))
        before = [await rows(inside(store), sql) for sql in CONTENT]

        await store.put_many([])

        assert [await rows(inside(store), sql) for sql in CONTENT] == before
        await store.put_many(as_records(batch := [*batch, an_activation()]))
        assert await ids(store) == ids_of(batch)


async def test_a_file_that_is_damaged_in_its_middle_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    await filled(path)
    damage(path, path.stat().st_size // PAGE // 2)

    async with activations(path) as store:
        with pytest.raises(StoreUnavailable, match="it is damaged: move it and its -wal file away"):
            await store.put_many([])


async def test_a_file_that_was_cut_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    await filled(path)
    os.truncate(path, path.stat().st_size // PAGE // 2 * PAGE)

    with pytest.raises(StoreUnavailable, match="damaged"):
        async with activations(path):
            pytest.fail("it was opened")


async def test_a_large_file_is_looked_at_for_some_seconds_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    await filled(path)
    monkeypatch.setattr("invoker_sqlite.database._LOOK", -1.0)  # and what is behind the middle is not seen
    async with activations(path) as store:
        await rows(inside(store), "CREATE TABLE large (x)")
        await rows(inside(store), f"INSERT INTO large SELECT randomblob({PAGE}) FROM activations")

        await store.put_many([])

        assert len(await ids(store)) == 2000


async def test_a_file_that_another_process_holds_is_unavailable(tmp_path: Path) -> None:
    async with activations(tmp_path / "file") as store:
        await rows(inside(store), "PRAGMA busy_timeout = 1")
        other = sqlite3.connect(tmp_path / "file", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailable, match="busy_timeout"):
            await store.put_many([])
        other.close()
        await store.put_many([])


@contextmanager
def as_somebody_else(folder: Path) -> Iterator[None]:
    """Have only what permissions give, to a folder that is one's own and to what is in it."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, NOBODY, NOBODY)
    for above in (folder, *folder.parents[:-2]):
        above.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_file_that_may_only_be_read_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    await filled(path)
    path.chmod(0o444)

    with as_somebody_else(tmp_path):
        async with activations(path) as store:
            assert len(await ids(store)) == 2000

            with pytest.raises(StoreUnavailable, match="it can't be written: see who owns it"):
                await store.put_many([])


@pytest.fixture
def small_disk(tmp_path: Path, absent: Callable[[str], None]) -> Iterator[Path]:
    """A file system with room for half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=512k", "small", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mounting, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        absent("no small file system can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_is_unavailable(small_disk: Path) -> None:
    batch = [an_activation()]
    async with activations(small_disk / "file") as store:
        await store.put_many(as_records(batch))
        await store.put_many([])
        fill(small_disk / "filled")

        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="no room is left on its disk"):
                await store.put_many([])

        assert await ids(store) == ids_of(batch)
        (small_disk / "filled").unlink()
        await store.put_many([])


async def test_a_disk_that_takes_no_more_is_unavailable_whatever_it_says_is_free(tmp_path: Path) -> None:
    """As with a quota: it is asked by writing, although nothing is left of what was written."""
    async with activations(tmp_path / "file") as store:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
        try:
            with pytest.raises(StoreUnavailable, match=r"disk I/O error|no room"):
                await store.put_many([])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await store.put_many([])


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * PAGE):
            continue
