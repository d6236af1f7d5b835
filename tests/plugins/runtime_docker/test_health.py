"""An engine that is down, or only seems to be up, is known."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from invoker.config import Seconds
from invoker.errors import StartFailed
from invoker.testing.containers import RecordedOutput
from invoker_docker.engine import EngineClient
from invoker_docker.failures import EngineDown
from invoker_docker.health import EngineHealth
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.invoker_place import ECHO, NEVER, InvokerPlace, in_trouble, loaded, metric, run, until


async def test_an_engine_that_has_ended_is_a_fault_until_it_is_back(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place) as (trouble, runtime):
        assert runtime.faults() == ()

        trouble.die()
        await until(lambda: bool(runtime.faults()))

        assert metric(runtime, "gauge_docker_engine_up") == 0
        (fault,) = runtime.faults()
        assert fault.startswith("the container engine does not answer: ")
        assert fault.endswith(", since 0 s")
        with pytest.raises(StartFailed, match="the container engine does not answer"):
            await runtime.create(docker_place.spec(), RecordedOutput())
        trouble.refusing = False
        await until(lambda: not runtime.faults())
        assert metric(runtime, "gauge_docker_engine_up") == 1
        assert await run(await loaded(runtime, docker_place.spec(), ECHO), n=1) == {"n": 1}


async def test_an_engine_that_hangs_is_a_fault(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place) as (trouble, runtime):
        trouble.stop()

        await until(lambda: bool(runtime.faults()))

        assert "no answer within 0.5 s" in runtime.faults()[0]
        asked = len(trouble.asked)
        with pytest.raises(StartFailed, match="the container engine does not answer"):
            await runtime.create(docker_place.spec(), RecordedOutput())
        assert not [one for one in trouble.asked[asked:] if "/containers" in one or "/images" in one]
        trouble.go()
        await until(lambda: not runtime.faults())


async def test_an_engine_that_only_seems_to_be_awake_is_a_fault(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place, create_timeout=Seconds(0.2)) as (trouble, runtime):
        with trouble.holding("POST /containers/create"), trouble.holding("GET /(info|networks)"):
            with pytest.raises(StartFailed, match="does not answer: create: no answer within"):
                await runtime.create(docker_place.spec(), RecordedOutput())
            await until(lambda: bool(runtime.faults()))

        await until(lambda: not runtime.faults())
        await until(lambda: docker_place.containers() == [docker_place.name])  # the engine did it all the same
    assert docker_place.containers() == []


class DeadEngine:
    """Never answers."""

    def __init__(self) -> None:
        self.on_down: Callable[[], None] = lambda: None
        self.looks = 0
        self.settings = DockerSettings(ping_interval=NEVER)

    async def negotiate(self) -> None:
        self.looks += 1
        await asyncio.sleep(0)
        self.on_down()
        raise EngineDown("version: no answer")


async def test_a_look_at_an_engine_that_is_down_is_no_reason_for_another_at_once() -> None:
    engine = DeadEngine()
    health = EngineHealth(cast("EngineClient", engine))
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(health.watch())
        await asyncio.sleep(0)
        engine.on_down()  # somebody else had no answer
        for _ in range(100):
            await asyncio.sleep(0)
        watch.cancel()

    assert (engine.looks, len(health.faults())) == (1, 1)
