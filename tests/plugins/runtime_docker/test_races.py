"""Two things that happen at the same moment, in the order in which nobody expects them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, cast

import pytest

from invoker.entities.container import Stream
from invoker.errors import Lost
from invoker.testing.containers import PATIENCE, RecordedOutput
from invoker_docker.disposal import AT_ONCE, Disposal
from invoker_docker.engine import Engine
from invoker_docker.health import Health
from invoker_docker.runtime import docker_runtime
from tests.plugins.runtime_docker.places import ECHO, SOON, Place, in_trouble, loaded, run, until

PRINTING = "def main(args):\n    print('last words', flush=True)\n    return args\n"
KILLED = "import os, signal\ndef main(args):\n    os.kill(os.getpid(), signal.SIGKILL)\n"


class RemovingEngine:
    """Removes whatever it is told to."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.most = 0
        """Removals at the same time."""
        self._busy = 0

    async def remove(self, container: str) -> None:
        self._busy += 1
        self.most = max(self.most, self._busy)
        await asyncio.sleep(0)
        self._busy -= 1
        self.removed.append(container)

    @asynccontextmanager
    async def disposal(self, on_gone: Callable[[str], None]) -> AsyncIterator[Disposal]:
        """Dispose of containers here; leaving waits until all are gone."""
        engine = cast("Engine", self)
        async with asyncio.TaskGroup() as tasks:
            yield Disposal(engine, Health(engine, 5.0, "network"), tasks, on_gone)


async def test_what_is_to_go_again_at_the_moment_at_which_it_is_gone_is_removed_again() -> None:
    """The engine listed it before, and the list came after."""
    engine = RemovingEngine()

    def gone(name: str) -> None:
        if len(engine.removed) == 1:
            disposal.remove("its id in an older list", name)

    async with engine.disposal(gone) as disposal:
        disposal.remove("its id", "name")

    assert engine.removed == ["its id", "its id in an older list"]


async def test_a_removal_that_is_under_way_is_joined() -> None:
    engine = RemovingEngine()
    gone: list[str] = []
    async with engine.disposal(gone.append) as disposal:
        removals = {disposal.remove("its id", "name") for _ in range(2)}

    assert len(removals) == 1
    assert (engine.removed, gone) == (["its id"], ["name"])


async def test_an_engine_has_a_bounded_number_of_removals_at_the_same_time() -> None:
    """With 50 of them at once Docker takes longer for all, and its version 20.10 may stop for good."""
    engine = RemovingEngine()
    gone: list[str] = []
    async with engine.disposal(gone.append) as disposal:
        for number in range(50):
            disposal.remove(f"id {number}", f"name {number}")

    assert engine.most == AT_ONCE
    assert gone == [f"name {number}" for number in range(50)]


async def test_what_comes_up_while_the_engine_tells_its_containers_is_not_taken_for_gone(docker_place: Place) -> None:
    async with in_trouble(docker_place, reconcile_interval=SOON) as (trouble, runtime):
        with trouble.holding("GET /containers/json", answer=True) as hold:
            await hold.reached()
            container = await loaded(runtime, docker_place.spec(), ECHO)
        await trouble.hears("GET /containers/json", times=2)

        assert await run(container, n=1) == {"n": 1}


async def test_closing_removes_what_is_there_by_itself_and_has_nothing_to_sweep(
    docker_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with docker_runtime(docker_place.settings) as runtime:
        await runtime.create(docker_place.spec(), RecordedOutput())

    assert docker_place.containers() == []
    assert "creations without an answer" not in caplog.text


async def test_an_engine_that_learns_late_why_a_container_was_killed_is_asked_again(
    docker_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec 9.5.5: of a container that has ended it says at first that nobody was out of memory."""
    looks = 0
    real = Engine.inspect

    async def inspect(engine: Engine, container: str) -> Mapping[str, Any]:
        nonlocal looks
        found = dict(await real(engine, container))
        if not found["State"]["Running"]:
            looks += 1
            found["State"] = {**found["State"], "OOMKilled": looks > 1}
        return found

    monkeypatch.setattr(Engine, "inspect", inspect)
    async with docker_runtime(docker_place.settings) as runtime:
        container = await loaded(runtime, docker_place.spec(), KILLED)

        with pytest.raises(Lost) as lost:
            await container.post("/run", b"{}", timeout=PATIENCE, limit=1 << 20)

    assert (lost.value.state.memory_exhausted, looks) == (True, 2)


async def test_output_that_comes_after_the_removal_is_taken(
    docker_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_docker.container.OUTPUT_TAIL", PATIENCE)
    output = RecordedOutput()
    async with in_trouble(docker_place) as (trouble, runtime), asyncio.TaskGroup() as tasks:
        container = await loaded(runtime, docker_place.spec(), PRINTING, output)
        with trouble.detaining_output():
            await run(container)
            removal = tasks.create_task(container.remove())
            await until(lambda: docker_place.containers() == [])
            await trouble.hears("GET /_ping", times=2)  # by then the runtime knows, too
            assert (output.written[Stream.STDOUT], output.closings, removal.done()) == (b"", 0, False)
        await removal

    assert output.written[Stream.STDOUT].startswith(b"last words\n")
    assert output.closings == 1


async def test_a_removal_waits_only_so_long_for_output(docker_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_docker.container.OUTPUT_TAIL", 0.1)
    output = RecordedOutput()
    async with in_trouble(docker_place) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), PRINTING, output)
        with trouble.detaining_output():
            async with asyncio.timeout(PATIENCE):
                await container.remove()
            assert output.closings == 1


async def test_the_end_of_a_first_try_is_not_the_end_of_the_containers_output(docker_place: Place) -> None:
    """Its output was attached before it could not be started: the network had been removed."""
    mark = docker_place.node.unique_name or ""
    place = docker_place.but(network=mark, bridge=mark[-12:])
    output = RecordedOutput()
    try:
        async with docker_runtime(place.settings) as runtime:
            assert place.ask("DELETE", f"/networks/{mark}")[0] == HTTPStatus.NO_CONTENT

            await run(await loaded(runtime, place.spec(), ECHO, output), n=1)

            assert output.closings == 0
        assert output.closings == 1
    finally:
        place.ask("DELETE", f"/networks/{mark}")
