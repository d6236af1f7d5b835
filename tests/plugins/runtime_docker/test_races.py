"""Two things that happen at the same moment, in the order in which nobody expects them."""

import asyncio
from typing import cast

import pytest

from invoker.testing.containers import RecordedOutput
from invoker_docker.disposal import Disposal
from invoker_docker.engine import Engine
from invoker_docker.health import Health
from invoker_docker.runtime import docker_runtime
from tests.plugins.runtime_docker.places import ECHO, SOON, Place, in_trouble, loaded, run


class RemovingEngine:
    """Removes whatever it is told to."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    async def remove(self, container: str) -> None:
        self.removed.append(container)


async def test_what_is_to_go_again_at_the_moment_at_which_it_is_gone_is_removed_again() -> None:
    """The engine listed it before, and the list came after."""
    engine = RemovingEngine()
    real = cast("Engine", engine)
    async with asyncio.TaskGroup() as tasks:

        def gone(name: str) -> None:
            if len(engine.removed) == 1:
                disposal.remove("its id in an older list", name)

        disposal = Disposal(real, Health(real, 5.0, "network"), tasks, gone)
        disposal.remove("its id", "name")

    assert engine.removed == ["its id", "its id in an older list"]


async def test_a_removal_that_is_under_way_is_joined() -> None:
    engine = RemovingEngine()
    real = cast("Engine", engine)
    gone: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        disposal = Disposal(real, Health(real, 5.0, "network"), tasks, gone.append)

        removals = {disposal.remove("its id", "name") for _ in range(2)}

    assert len(removals) == 1
    assert (engine.removed, gone) == (["its id"], ["name"])


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
