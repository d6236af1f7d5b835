"""One file, several processes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import PIPE

from invoker import Settings
from invoker.testing.activation_reader import begun, taken
from invoker.testing.builders import a_function, a_ref, an_activation, as_records
from invoker_sqlite import open_activation_store, open_function_store
from invoker_sqlite.activations import SqliteActivations
from invoker_sqlite.functions import SqliteFunctions
from invoker_sqlite.settings import SqliteSettings

WRITER = Path(__file__).with_name("writer.py")
PROCESSES = 4


@contextmanager
def writers(number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that wait for the name of a file."""
    started = [subprocess.Popen([sys.executable, WRITER], stdin=PIPE, stdout=PIPE, text=True) for _ in range(number)]
    try:
        yield started
    finally:
        for process in started:
            process.communicate()


def let_write(processes: list[subprocess.Popen[str]], path: Path) -> list[dict[str, list[str]]]:
    """Make all of them open `path` at once and write; return what each says that it stored."""
    for process in processes:
        assert process.stdin is not None
        print(path, file=process.stdin, flush=True)
    return [json.loads(process.stdout.readline()) for process in processes if process.stdout is not None]


@asynccontextmanager
async def records(path: Path) -> AsyncIterator[SqliteActivations]:
    async with open_activation_store(Settings.of(SqliteSettings(path=path))) as store:
        assert isinstance(store, SqliteActivations)
        yield store


@asynccontextmanager
async def catalog(path: Path) -> AsyncIterator[SqliteFunctions]:
    async with open_function_store(Settings.of(SqliteSettings(path=path))) as store:
        assert isinstance(store, SqliteFunctions)
        yield store


async def test_processes_that_create_a_file_at_once_all_write_to_it(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) / "new" / "file" for number in range(6)]
    with writers(PROCESSES) as processes:
        said = [let_write(processes, path) for path in paths]

    for path, written in zip(paths, said, strict=True):
        async with records(path) as store:
            stored = await store.recent("guest", limit=10_000)
        assert {each.activation_id for each in stored} == {one for each in written for one in each["ids"]}


async def test_no_two_processes_get_the_same_revision(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with writers(PROCESSES) as processes:
        said = let_write(processes, path)

    revisions = [revision for each in said for revision in each["revisions"]]
    assert len(set(revisions)) == len(revisions) == PROCESSES * 10
    async with catalog(path) as functions:
        last = await functions.fetch(a_ref(a_function(name="shared")), exact=False)
    assert last.revision in {each["revisions"][-1] for each in said}


async def test_a_follower_sees_what_other_processes_store(tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with records(path) as store:
        following = store.follow("guest")
        await begun(following, store, "guest")
        with writers(2) as processes:
            said = await asyncio.to_thread(let_write, processes, path)

        found = await taken(following, 2 * 10 * 20)

    assert sorted(each.activation_id for each in found) == sorted(one for each in said for one in each["ids"])
    assert {each.logs for each in found} == {("hello",)}


async def test_what_was_stored_survives_the_death_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "file"
    process = await asyncio.create_subprocess_exec(sys.executable, WRITER, path, stdout=PIPE)
    assert process.stdout is not None
    said = [await process.stdout.readline() for _ in range(50)]
    process.kill()
    said += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()

    async with records(path) as store:
        for line in said:
            if line.endswith(b"\n"):  # the last one may be cut off
                assert await store.get("guest", line.decode().rstrip()) is not None
        await store.put_many(as_records([an_activation()]))


async def test_two_openings_in_one_process_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    function, activation = a_function(), an_activation()
    async with catalog(path) as one, catalog(path) as other, records(path) as first, records(path) as second:
        revisions = await asyncio.gather(*(each.put(function) for each in (one, other) * 5))
        await asyncio.gather(first.put_many(as_records([activation])), second.put_many(as_records([activation])))

        assert len(set(revisions)) == 10
        assert (await other.fetch(a_ref(function), exact=False)).revision in revisions
        assert await second.get("guest", activation.activation_id) == activation
        assert len(await first.recent("guest", limit=10)) == 1
