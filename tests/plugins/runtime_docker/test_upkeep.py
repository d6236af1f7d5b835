"""Looking after the engine's containers, and after the engine."""

import asyncio

import pytest

from invoker.config import Seconds
from invoker.errors import StartFailed
from invoker.testing.containers import RecordedOutput
from invoker_docker.runtime import docker_runtime
from invoker_docker.upkeep import Upkeep
from tests.plugins.runtime_docker.places import ECHO, SOON, Place, in_trouble, loaded, run, until


async def gone(place: Place, name: str) -> None:
    """Wait until the engine has no such container any more."""
    await asyncio.to_thread(place.ask, "POST", f"/containers/{name}/wait", condition="removed")
    await until(lambda: name not in place.containers())


async def test_what_an_earlier_life_left_is_swept_in_whatever_state_it_is(place: Place) -> None:
    names = [f"{place.node.unique_name}-{state}" for state in ("created", "running", "paused", "ended")]
    try:
        for name, start in zip(names, (False, True, True, True), strict=True):
            place.make(name, start=start)
        place.ask("POST", f"/containers/{names[2]}/pause")
        place.ask("POST", f"/containers/{names[3]}/kill")

        async with docker_runtime(place.settings) as runtime:
            assert sorted(await runtime.sweep()) == sorted(names)
            assert place.containers() == []
    finally:
        for name in names:
            place.remove(name)


async def test_what_is_ours_and_unknown_is_removed(place: Place) -> None:
    stray = f"{place.node.unique_name}-stray"
    async with docker_runtime(place.but(reconcile_interval=SOON).settings) as runtime:
        container = await loaded(runtime, place.spec(), ECHO)
        place.make(stray, start=True)

        await gone(place, stray)

        assert place.containers() == [place.name]
        assert await run(container, n=1) == {"n": 1}


async def test_a_creation_in_flight_is_not_unknown(docker_place: Place) -> None:
    async with asyncio.TaskGroup() as tasks, in_trouble(docker_place, reconcile_interval=SOON) as (trouble, runtime):
        with trouble.holding("POST /containers/create", answer=True) as hold:
            creation = tasks.create_task(loaded(runtime, docker_place.spec(), ECHO))
            await hold.reached()
            await trouble.hears("GET /containers/json", times=3)
            assert docker_place.containers() == [docker_place.name]

        assert await run(await creation, n=1) == {"n": 1}


async def test_what_is_known_and_gone_is_given_up(docker_place: Place) -> None:
    output = RecordedOutput()
    async with in_trouble(docker_place, reconcile_interval=SOON) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), ECHO, output)
        trouble.mute = True  # the end of its output will not be seen
        docker_place.remove(docker_place.name)

        await output.ends()

        assert not (await container.inspect()).running
        await container.remove()
        assert (await runtime.create(docker_place.spec(), RecordedOutput())).name == docker_place.name


async def test_an_engine_that_has_ended_is_a_fault_until_it_is_back(docker_place: Place) -> None:
    async with in_trouble(docker_place) as (trouble, runtime):
        assert runtime.faults() == ()

        trouble.die()
        await until(lambda: bool(runtime.faults()))

        (fault,) = runtime.faults()
        assert fault.startswith("the container engine does not answer: ping: ")
        assert fault.endswith(", since 0 s")
        with pytest.raises(StartFailed, match="the container engine does not answer"):
            await runtime.create(docker_place.spec(), RecordedOutput())
        trouble.refusing = False
        await until(lambda: not runtime.faults())
        assert await run(await loaded(runtime, docker_place.spec(), ECHO), n=1) == {"n": 1}


async def test_an_engine_that_hangs_is_a_fault(docker_place: Place) -> None:
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


async def test_an_engine_that_only_seems_to_be_awake_is_a_fault(docker_place: Place) -> None:
    async with in_trouble(docker_place, create_timeout=Seconds(0.2)) as (trouble, runtime):
        with trouble.holding("POST /containers/create"), trouble.holding("GET /(info|networks)"):
            with pytest.raises(StartFailed, match="does not answer: create: no answer within"):
                await runtime.create(docker_place.spec(), RecordedOutput())
            await until(lambda: bool(runtime.faults()))

        await until(lambda: not runtime.faults())
        await until(lambda: docker_place.containers() == [docker_place.name])  # the engine did it all the same
    assert docker_place.containers() == []


async def test_an_engine_that_is_back_is_compared_at_once(docker_place: Place) -> None:
    stray = f"{docker_place.node.unique_name}-stray"
    async with in_trouble(docker_place) as (trouble, runtime):
        trouble.die()
        await until(lambda: bool(runtime.faults()))
        docker_place.make(stray)

        trouble.refusing = False

        await gone(docker_place, stray)


async def test_removal_waits_for_the_engine(docker_place: Place) -> None:
    async with asyncio.TaskGroup() as tasks, in_trouble(docker_place) as (trouble, runtime):
        container = await loaded(runtime, docker_place.spec(), ECHO)
        trouble.die()
        await until(lambda: bool(runtime.faults()))

        removal = tasks.create_task(container.remove())
        await until(lambda: not trouble.asked[-1].startswith("DELETE"))
        assert not removal.done()
        trouble.refusing = False
        await removal

        assert docker_place.containers() == []


async def test_what_could_not_be_removed_is_named_and_swept_by_the_next_life(
    docker_place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("invoker_docker.runtime.DOWN_GRACE", 0.1)
    output = RecordedOutput()
    async with in_trouble(docker_place) as (trouble, runtime):
        await loaded(runtime, docker_place.spec(), ECHO, output)
        trouble.die()
        await until(lambda: bool(runtime.faults()))

    assert f"containers that could not be removed: {docker_place.name}" in caplog.text
    assert output.closings == 1
    assert docker_place.containers() == [docker_place.name]
    async with docker_runtime(docker_place.settings) as runtime:
        assert await runtime.sweep() == [docker_place.name]


async def test_an_engine_that_is_not_there_is_named(docker_place: Place) -> None:
    with pytest.raises(
        StartFailed, match=r"the container engine at unix:///nowhere\.sock can't be used: .*start the engine, or set"
    ):
        async with docker_runtime(docker_place.but(url="unix:///nowhere.sock").settings):
            pass


async def test_what_breaks_in_the_background_ends_the_runtime_but_leaves_nothing(
    docker_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def broken(upkeep: Upkeep) -> None:
        await begun.wait()
        raise RuntimeError("broken")

    async def live() -> None:
        async with docker_runtime(docker_place.but(reconcile_interval=SOON).settings) as runtime:
            await loaded(runtime, docker_place.spec(), ECHO)
            begun.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(Upkeep, "reconcile", broken)

    with pytest.raises(BaseExceptionGroup) as caught:
        await live()

    assert caught.group_contains(RuntimeError, match="broken")
    assert docker_place.containers() == []
