"""The engine itself fails: it hangs, is killed, is stopped, has no space. The invoker lives through it, and goes on."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.end_to_end.docker.own_engine import OwnEngine, own_engine
from tests.end_to_end.docker.place import (
    MB,
    VISIT,
    DockerHome,
    Ended,
    invoke,
    pool_is,
    running,
    seen,
    settled,
    unharmed,
    works,
)
from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Running
from tests.services.images import Images

ABNORMAL_RUN = {"error": "The action did not produce a valid response and exited unexpectedly."}
NO_RESOURCES = {"error": "Failed to provision resources to run the action."}
LOG_FAILURE = "stderr: There was an issue while collecting your logs. Data might be missing."
QUICK = ("docker.ping_interval=500 ms", "docker.ping_timeout=400 ms", "docker.reconcile_interval=2 s")
QUICK += tuple(f"docker.{call}_timeout=3 s" for call in ("create", "start", "inspect", "remove"))
WAITS = f"""{VISIT}
def main(args):
    print("waits", flush=True)
    visit(args["place"]).recv(1)
    return {{"waited": True}}
"""
WRITES = """
import errno
def main(args):
    try:
        with open("/var/tmp/file", "wb", buffering=0) as file:
            for _ in range(args["size"]):
                file.write(bytes(1 << 20))
    except OSError as error:
        return {"error number": errno.errorcode[error.errno]}
    return {}
"""


@pytest.fixture(scope="module")
def engine(docker: str, odd: dict[str, str], absent: Callable[[str], None]) -> Iterator[OwnEngine]:
    with own_engine(docker, odd["plain"], absent) as engine:
        yield engine


@pytest.fixture
def home(engine: OwnEngine, docker_images: Images, odd: dict[str, str], tmp_path: Path) -> Iterator[DockerHome]:
    home = DockerHome(tmp_path, engine.url, docker_images)
    home.offer({"python:3": odd["plain"]})
    home.put(python("waits", WAITS), python("other", "def main(args): return {}"), python("writes", WRITES))
    with engine.namespace.entered():
        yield home
    assert home.engine.containers() == {}


async def is_unready(program: Running) -> None:
    """Wait until the invoker says that the engine is down."""
    async with asyncio.timeout(30):
        while (answer := await program.operator("/readyz")).status == 200:
            pass
    assert "the container engine does not answer" in answer.body.decode()


async def ask_all(program: Running, home: DockerHome, break_it: Callable[[], None]) -> tuple[Ended, Ended, Ended]:
    """Break the engine while an action runs; return how that ended, one that had a warm container, and another."""
    async with home.meeting() as place:
        await works(program)
        waits = asyncio.create_task(program.invoke(message("waits", {"place": place.address})))
        visitor = await place.visitor()
        await works(program)  # its output went through the engine, so what was printed before it has, too
        await asyncio.to_thread(break_it)
        await is_unready(program)
        warm, cold = await asyncio.gather(invoke(program, "fine"), invoke(program, "other"))
        await visitor.let_go()
        return await seen(program, await waits), warm, cold


async def recovers(program: Running, home: DockerHome) -> None:
    """Wait until the invoker is ready again; nothing is left of before."""
    await program.becomes_ready()
    await settled(program, home.engine)
    await unharmed(program, home.engine)
    assert (await invoke(program, "other")).status == 0


async def test_an_engine_that_hangs(engine: OwnEngine, home: DockerHome) -> None:
    with home.running(*QUICK) as program:
        with ExitStack() as stopped:
            waited, warm, cold = await ask_all(program, home, lambda: stopped.enter_context(engine.frozen()))
        await recovers(program, home)

    assert (waited.result, warm.result) == ({"waited": True}, {"fine": True}), "both have their container"
    assert waited.logs == ["stdout: waits", LOG_FAILURE]
    assert warm.logs == [LOG_FAILURE]
    assert (cold.status, cold.result) == (3, NO_RESOURCES)


async def test_an_engine_that_is_killed_and_comes_back(engine: OwnEngine, home: DockerHome) -> None:
    with home.running(*QUICK) as program:
        waited, warm, cold = await ask_all(program, home, lambda: engine.end(signal.SIGKILL))
        await asyncio.to_thread(engine.start)
        await recovers(program, home)

    assert (waited.status, waited.result) == (0, {"waited": True}), "its container was there to the end"
    assert waited.logs == ["stdout: waits", LOG_FAILURE]
    for ended in (warm, cold):
        assert (ended.status, ended.result) == (3, NO_RESOURCES)


async def test_an_engine_that_is_stopped_with_all_its_containers(engine: OwnEngine, home: DockerHome) -> None:
    with home.running(*QUICK) as program:
        waited, warm, cold = await ask_all(program, home, lambda: engine.end(signal.SIGTERM))
        await asyncio.to_thread(engine.start)
        await recovers(program, home)

    assert waited.result == ABNORMAL_RUN
    assert waited.status in {2, 3}, "it may be told of its container's end before the engine's, or not"
    for ended in (warm, cold):
        assert (ended.status, ended.result) == (3, NO_RESOURCES)


async def test_an_invoker_stops_while_the_engine_hangs_and_the_next_one_removes_the_rest(
    engine: OwnEngine, home: DockerHome
) -> None:
    with home.running(*QUICK) as program:
        await works(program)
        with engine.frozen():
            await is_unready(program)
            program.signal(signal.SIGTERM)
            code = await asyncio.to_thread(program.ended)
    with home.running(*QUICK) as program:
        await recovers(program, home)

    assert code == 0


async def test_an_engine_without_space(engine: OwnEngine, home: DockerHome) -> None:
    """Who needs a container waits until there is room for one; who has one is told what the engine's machine says."""
    async with running(home) as program, asyncio.TaskGroup() as tasks:
        assert (await invoke(program, "writes", {"size": 0})).result == {}
        filler = engine.disk / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(engine.disk).free - 8 * MB)
        full = await invoke(program, "writes", {"size": 64})
        with filler.open("ab") as file:
            fill(file.fileno())
        cold = tasks.create_task(invoke(program, "other"))
        await pool_is(program, lambda view: view["waits"]["room"] == 1)
        filler.unlink()
        await recovers(program, home)
        again = await invoke(program, "writes", {"size": 64})

    assert (full.result, full.line["containerType"]) == ({"error number": "ENOSPC"}, "warm")
    assert cold.result().status == 0
    assert again.result == {}


def fill(file: int) -> None:
    """Write until there is no space."""
    size = 4 * MB
    while size >= 1:
        try:
            os.write(file, bytes(size))
        except OSError:
            size //= 2
