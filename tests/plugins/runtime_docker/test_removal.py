"""Removals: of each container one at a time, of all only so many, and for as long as the engine takes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from invoker.entities.container import Stream
from invoker.testing.containers import PATIENCE, RecordedOutput
from invoker_docker.container import REMOVALS, Removals
from invoker_docker.engine import EngineClient
from invoker_docker.health import EngineHealth
from tests.plugins.runtime_docker.invoker_place import ECHO, InvokerPlace, in_trouble, loaded, metric, run, until

PRINTING = "def main(args):\n    print('last words', flush=True)\n    return args\n"


class RemovingEngine:
    """Removes whatever it is told to."""

    def __init__(self) -> None:
        self.on_down: Callable[[], None] | None = None
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
    async def removals(self, on_gone: Callable[[str], None]) -> AsyncIterator[Removals]:
        """Dispose of containers here; leaving waits until all are gone."""
        engine = cast("EngineClient", self)
        async with asyncio.TaskGroup() as tasks:
            yield Removals(engine, EngineHealth(engine), tasks, on_gone)


async def test_what_is_to_go_again_at_the_moment_at_which_it_is_gone_is_removed_again() -> None:
    """The engine listed it before, and the list came after."""
    engine = RemovingEngine()

    def gone(name: str) -> None:
        if len(engine.removed) == 1:
            removals.remove("its id in an older list", name)

    async with engine.removals(gone) as removals:
        removals.remove("its id", "name")

    assert engine.removed == ["its id", "its id in an older list"]


async def test_a_removal_that_is_under_way_is_joined() -> None:
    engine = RemovingEngine()
    gone: list[str] = []
    async with engine.removals(gone.append) as removals:
        tasks = {removals.remove("its id", "name") for _ in range(2)}

    assert len(tasks) == 1
    assert (engine.removed, gone) == (["its id"], ["name"])


async def test_an_engine_has_a_bounded_number_of_removals_at_the_same_time() -> None:
    """With 50 of them at once Docker takes longer for all, and its version 20.10 may stop for good."""
    engine = RemovingEngine()
    gone: list[str] = []
    async with engine.removals(gone.append) as removals:
        for number in range(50):
            removals.remove(f"id {number}", f"name {number}")

    assert engine.most == REMOVALS
    assert gone == [f"name {number}" for number in range(50)]


async def test_output_that_comes_after_the_removal_is_taken(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch
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


async def test_a_removal_waits_only_so_long_for_output(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_docker.container.OUTPUT_TAIL", 0.1)
    output = RecordedOutput()
    async with in_trouble(docker_place) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), PRINTING, output)
        with trouble.detaining_output():
            async with asyncio.timeout(PATIENCE):
                await container.remove()
            assert output.closings == 1


async def test_removal_waits_for_the_engine(docker_place: InvokerPlace) -> None:
    async with asyncio.TaskGroup() as tasks, in_trouble(docker_place) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), ECHO)
        trouble.die()
        await until(lambda: bool(runtime.faults()))

        removal = tasks.create_task(container.remove())
        await until(lambda: metric(runtime, "counter_docker_removals_failed") > 1)
        assert not removal.done()
        assert metric(runtime, "gauge_docker_removals") == 1
        trouble.refusing = False
        await removal

        assert docker_place.containers() == []
