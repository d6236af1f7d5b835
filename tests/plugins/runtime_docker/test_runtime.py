"""Opening a runtime, which changes nothing, and closing it, which leaves nothing."""

import asyncio

import pytest

from invoker.config import Seconds
from invoker.errors import SettingsError, StartFailed
from invoker.testing.containers import RecordedOutput
from invoker_docker.ownership import Reconciler
from invoker_docker.runtime import docker_runtime
from tests.plugins.runtime_docker.invoker_place import ECHO, SOON, InvokerPlace, in_trouble, loaded, until


async def test_what_could_not_be_removed_is_named_and_swept_by_the_next_life(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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


async def test_an_engine_that_is_not_there_is_named(docker_place: InvokerPlace) -> None:
    with pytest.raises(
        StartFailed, match=r"the container engine at unix:///nowhere\.sock can't be used: .*start the engine, or set"
    ):
        async with docker_runtime(docker_place.but(url="unix:///nowhere.sock").settings):
            pass


async def test_what_breaks_in_the_background_ends_the_runtime_but_leaves_nothing(
    docker_place: InvokerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def broken(reconciler: Reconciler) -> None:
        await begun.wait()
        raise RuntimeError("broken")

    async def live() -> None:
        async with docker_runtime(docker_place.but(reconcile_interval=SOON).settings) as runtime:
            await runtime.sweep()
            await loaded(runtime, docker_place.spec(), ECHO)
            begun.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(Reconciler, "reconcile", broken)

    with pytest.raises(BaseExceptionGroup) as caught:
        await live()

    assert caught.group_contains(RuntimeError, match="broken")
    assert docker_place.containers() == []


async def test_closing_removes_what_is_there_by_itself_and_has_nothing_to_sweep(
    docker_place: InvokerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with docker_runtime(docker_place.settings) as runtime:
        await runtime.create(docker_place.spec(), RecordedOutput())

    assert docker_place.containers() == []
    assert "creations without an answer" not in caplog.text


async def test_an_oci_runtime_that_the_engine_lacks_is_told_before_anything_is_started(
    docker_place: InvokerPlace,
) -> None:
    place = docker_place.but(oci_runtime="nonesuch")

    with pytest.raises(SettingsError, match=r"docker\.oci_runtime: the engine has no OCI runtime 'nonesuch'; .*runc"):
        async with docker_runtime(place.settings):
            pass


@pytest.mark.parametrize("how", ["sweep", "create"])
async def test_the_network_is_made_when_it_is_needed_and_stays(place: InvokerPlace, how: str) -> None:
    place = place.with_a_network_of_its_own()
    try:
        async with docker_runtime(place.settings) as runtime:
            assert tuple(runtime.bridges()) == (place.docker.bridge,)
            assert not place.has_network()
            await (runtime.sweep() if how == "sweep" else runtime.create(place.spec(), RecordedOutput()))
            assert tuple(runtime.bridges()) == (place.docker.bridge,)

        assert place.has_network()
    finally:
        place.remove_network()


async def test_who_merely_looks_changes_nothing(place: InvokerPlace) -> None:
    place = place.with_a_network_of_its_own()
    names = sorted(f"{place.name}-{state}" for state in ("created", "running"))
    try:
        for name in names:
            place.make(name, start=name.endswith("running"))

        async with docker_runtime(place.settings) as runtime:
            assert runtime.runtimes()
            assert await runtime.lacking(runtime.runtimes()) == []
            assert runtime.faults() == ()

        assert sorted(place.containers()) == names
        assert not place.has_network()
    finally:
        for name in names:
            place.remove(name)


async def test_who_has_not_swept_removes_nothing_but_what_it_has_created(docker_place: InvokerPlace) -> None:
    names = sorted(f"{docker_place.name}{rest}" for rest in ("", "-created", "-running", "-of-nobody-knows-when"))
    try:
        for name in names:
            docker_place.make(name, start=name.endswith("running"), boot="" if name.endswith("when") else "another")
        async with in_trouble(docker_place, swept=False, reconcile_interval=SOON) as (trouble, runtime):
            container = await loaded(runtime, docker_place.spec(), ECHO)
            await trouble.hears("GET /_ping", times=3)  # as often as it would have compared

            assert container.name != docker_place.name
            assert not [one for one in trouble.asked if one.startswith(("DELETE", "GET /containers/json"))]

        assert sorted(docker_place.containers()) == names
    finally:
        for name in names:
            docker_place.remove(name)


async def test_what_came_of_a_call_without_an_answer_is_removed_at_the_end_even_unswept(
    docker_place: InvokerPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async with in_trouble(docker_place, swept=False, create_timeout=Seconds(0.2)) as (trouble, runtime):
        with trouble.holding("POST /containers/create", answer=True), pytest.raises(StartFailed):
            await runtime.create(docker_place.spec(), RecordedOutput())
        await until(lambda: docker_place.containers() == [docker_place.name])
        await until(lambda: not runtime.faults())

    assert f"removed containers that came of creations without an answer: {docker_place.name}" in caplog.text
    assert docker_place.containers() == []
