"""Creating containers: whose fault it is when it fails, and that nothing is left wherever it is broken off."""

import asyncio
import re
import secrets
from http import HTTPStatus
from typing import Any

import pytest

from invoker.config import Seconds
from invoker.errors import Lost, NoRoom, StartFailed
from invoker.testing.containers import PATIENCE, RecordedOutput
from invoker.testing.programs import Program, init_body
from invoker_docker.runtime import docker_runtime
from tests.plugins.runtime_docker.invoker_place import ECHO, SOON, InvokerPlace, in_trouble, loaded, metric, run, until

STEPS = {
    "create": r"POST /containers/create",
    "attach": r"POST /containers/\w+/attach",
    "start": r"POST /containers/\w+/start",
    "inspect": r"GET /containers/\w+/json",
}
"""What a start asks an engine for, in this order."""


MISSING = {"Entrypoint": ["/nope"], "Cmd": []}


NOT_FOUND = {"Entrypoint": ["nope"], "Cmd": []}


FORBIDDEN = {"Entrypoint": ["/etc/passwd"], "Cmd": []}


GHOST = {"User": "ghost"}


async def refused(place: InvokerPlace, *, user_image: bool) -> StartFailed:
    """Return why no container can be started, or why it serves nobody if an init was; none is left."""
    async with docker_runtime(place.but(pull_user_images="never").settings) as runtime:
        failure = await failed_by(loaded(runtime, place.spec(pull=user_image), ECHO))
    assert place.containers() == []
    return failure


@pytest.mark.parametrize("request_", [MISSING, NOT_FOUND, FORBIDDEN])
async def test_a_users_image_without_its_command_is_its_developers_fault(
    place: InvokerPlace, request_: dict[str, Any]
) -> None:
    failure = await refused(place.but(extra=request_), user_image=True)

    assert failure.developer_fault
    assert failure.public == f"executable file not found in image {place.image}"


async def test_a_users_image_with_a_user_that_is_nobody_is_its_developers_fault(place: InvokerPlace) -> None:
    failure = await refused(place.but(extra=GHOST), user_image=True)

    assert failure.developer_fault
    assert failure.public == f"The container image '{place.image}' can't be started."


@pytest.mark.parametrize("request_", [MISSING, GHOST])
async def test_an_image_of_the_operators_is_never_a_developers_fault(
    place: InvokerPlace, request_: dict[str, Any]
) -> None:
    failure = await refused(place.but(extra=request_), user_image=False)

    assert place.image in failure.reason
    assert (failure.developer_fault, failure.public) == (False, None)


async def test_an_engine_without_its_own_programs_is_not_a_developers_fault(docker_place: InvokerPlace) -> None:
    failure = await refused(docker_place.but(oci_runtime="io.containerd.nonesuch.v2"), user_image=True)

    assert not failure.developer_fault


async def test_an_oci_runtime_that_the_engine_has_is_used(docker_place: InvokerPlace) -> None:
    async with docker_runtime(docker_place.but(oci_runtime="runc").settings) as runtime:
        assert await run(await loaded(runtime, docker_place.spec(), ECHO), n=1) == {"n": 1}


async def test_a_container_that_ends_at_once_is_lost_to_its_first_request(place: InvokerPlace) -> None:
    place = place.but(extra={"Cmd": ["python3", "-c", "exit(7)"]})
    async with docker_runtime(place.settings) as runtime:
        container = await runtime.create(place.spec(), RecordedOutput())

        with pytest.raises(Lost) as caught:
            await container.post("/init", init_body(Program.ECHO), timeout=PATIENCE, limit=1 << 20)

    assert (caught.value.state.running, caught.value.state.exit_code) == (False, 7)


async def test_a_container_that_ends_while_it_boots_is_lost_long_before_the_time_limit(place: InvokerPlace) -> None:
    place = place.but(
        extra={"Cmd": ["python3", "-c", "print('here', flush=True); input(); exit(7)"], "OpenStdin": True}
    )
    output = RecordedOutput()
    async with docker_runtime(place.settings) as runtime, asyncio.TaskGroup() as tasks:
        container = await runtime.create(place.spec(), output)
        init = tasks.create_task(lost_by(container.post("/init", b"{}", timeout=3600, limit=1 << 20)))
        await output.says(b"here")

        place.ask("POST", f"/containers/{container.name}/kill", signal="TERM")
        lost = await init

    assert (lost.state.running, lost.state.exit_code) == (False, -15)


async def test_a_container_may_be_slow_to_listen(docker_place: InvokerPlace) -> None:
    slow = ["sh", "-c", "sleep 0.5; exec python3 -P /proxies/python.py"]
    async with docker_runtime(docker_place.but(extra={"Cmd": slow}).settings) as runtime:
        container = await loaded(runtime, docker_place.spec(), ECHO)

        assert await run(container, n=1) == {"n": 1}


async def test_a_name_that_an_earlier_container_of_ours_has_is_in_nobodys_way(place: InvokerPlace) -> None:
    async with docker_runtime(place.but(reconcile_interval=SOON).settings) as runtime:
        other = f"{place.name}-2"
        await runtime.create(place.spec(other), RecordedOutput())
        stale = place.make(place.name, start=True, boot=place.boot(other))

        container = await loaded(runtime, place.spec(), ECHO)
        await runtime.sweep()

        await until(lambda: place.ask("GET", f"/containers/{stale}/json")[0] == 404)
        assert await run(container, n=1) == {"n": 1}


async def test_a_strangers_name_is_his(place: InvokerPlace) -> None:
    name = place.name
    stranger = place.make(name, owner="somebody else")
    try:
        async with docker_runtime(place.settings) as runtime:
            container = await loaded(runtime, place.spec(), ECHO)
            another = await loaded(runtime, place.spec(), ECHO)

            assert re.fullmatch(rf"{name}-[0-9a-f]{{6}}", container.name)
            assert container.name != another.name
            assert sorted(place.containers()) == sorted([container.name, another.name])
        assert place.ask("GET", f"/containers/{stranger}/json")[0] == 200
    finally:
        place.remove(name)


async def test_where_the_network_has_no_address_left_there_is_no_room_until_a_container_has_gone(
    place: InvokerPlace,
) -> None:
    place = place.with_a_network_of_its_own()
    subnet = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(256)}"
    config = {"Subnet": f"{subnet}.0/30", "Gateway": f"{subnet}.1"}
    made = place.ask("POST", "/networks/create", {"Name": place.docker.network, "IPAM": {"Config": [config]}})
    assert made[0] == HTTPStatus.CREATED
    try:
        async with docker_runtime(place.settings) as runtime:
            container = await runtime.create(place.spec(), RecordedOutput())

            with pytest.raises(NoRoom, match="no container of the image"):
                await runtime.create(place.spec(f"{place.name}-2"), RecordedOutput())

            assert place.containers() == [place.name]
            await container.remove()
            await runtime.create(place.spec(f"{place.name}-2"), RecordedOutput())
    finally:
        place.remove_network()


async def test_a_network_that_was_pruned_is_made_again_and_the_first_try_is_not_the_end_of_the_output(
    docker_place: InvokerPlace,
) -> None:
    """The output was attached before the container could not be started."""
    place = docker_place.with_a_network_of_its_own()
    output = RecordedOutput()
    try:
        async with docker_runtime(place.settings) as runtime:
            await runtime.sweep()
            assert place.remove_network() == HTTPStatus.NO_CONTENT

            assert await run(await loaded(runtime, place.spec(), ECHO, output), n=1) == {"n": 1}

            assert output.closings == 0
        assert output.closings == 1
    finally:
        place.remove_network()


async def test_an_image_that_was_pruned_meanwhile_is_named(docker_place: InvokerPlace) -> None:
    image = f"invoker-tests/{docker_place.node.unique_name}:1"
    name, _, tag = image.partition(":")
    assert docker_place.ask("POST", f"/images/{docker_place.image}/tag", repo=name, tag=tag)[0] == 201
    async with asyncio.TaskGroup() as tasks, in_trouble(docker_place) as (trouble, runtime):
        with trouble.holding(STEPS["create"]) as hold:
            spec = docker_place.spec(image=image)
            failure = tasks.create_task(failed_by(runtime.create(spec, RecordedOutput())))
            await hold.reached()
            assert docker_place.ask("DELETE", f"/images/{image}")[0] == 200

        assert f"the engine lacks the image '{image}'" in str(await failure)
        assert docker_place.containers() == []


async def test_all_that_are_asked_for_are_created_at_once(docker_place: InvokerPlace) -> None:
    async with asyncio.TaskGroup() as tasks, in_trouble(docker_place) as (trouble, runtime):
        with trouble.holding(STEPS["start"]):
            starts = [
                tasks.create_task(loaded(runtime, docker_place.spec(f"{docker_place.name}-{n}"), ECHO))
                for n in range(4)
            ]
            await until(lambda: sum("/start" in request for request in trouble.asked) == 4)

            assert metric(runtime, "gauge_docker_creates") == 4

        assert [await run(await start, n=1) for start in starts] == [{"n": 1}] * 4
        assert metric(runtime, "gauge_docker_creates") == 0


async def test_an_image_that_is_being_pulled_holds_up_no_other_container(docker_place: InvokerPlace) -> None:
    async with (
        asyncio.TaskGroup() as tasks,
        in_trouble(docker_place.but(pull_user_images="always")) as (trouble, runtime),
    ):
        with trouble.holding("POST /images/create") as hold:
            spec = docker_place.spec(f"{docker_place.name}-2", pull=True)
            pulling = tasks.create_task(runtime.create(spec, RecordedOutput()))
            await hold.reached()

            assert await run(await loaded(runtime, docker_place.spec(), ECHO), n=1) == {"n": 1}

            assert metric(runtime, "gauge_docker_pulls") == 1
            pulling.cancel()
            await asyncio.wait({pulling})
        assert metric(runtime, "gauge_docker_pulls") == 0


@pytest.mark.parametrize("answer", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_start_that_is_cancelled_leaves_nothing(docker_place: InvokerPlace, step: str, *, answer: bool) -> None:
    async with in_trouble(docker_place) as (trouble, runtime):
        start = asyncio.create_task(runtime.create(docker_place.spec(), RecordedOutput()))
        with trouble.holding(STEPS[step], answer=answer) as hold:
            await hold.reached()
            start.cancel()
            await until(lambda: step == "create" or start.done())

        with pytest.raises(asyncio.CancelledError):
            await start
        assert docker_place.containers() == []
        assert await run(await loaded(runtime, docker_place.spec(), ECHO), n=1) == {"n": 1}


@pytest.mark.parametrize("answer", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_start_on_which_the_engine_ends_leaves_nothing_once_it_is_back(
    docker_place: InvokerPlace, step: str, *, answer: bool
) -> None:
    async with asyncio.TaskGroup() as tasks, in_trouble(docker_place) as (trouble, runtime):
        with trouble.holding(STEPS[step], answer=answer) as hold:
            start = tasks.create_task(failed_by(runtime.create(docker_place.spec(), RecordedOutput())))
            await hold.reached()
            trouble.die()

        assert "the container engine does not answer" in str(await start)
        await until(lambda: bool(runtime.faults()))
        trouble.refusing = False
        await until(lambda: not runtime.faults() and not docker_place.containers())
        await until(lambda: not runtime._names)  # its name is free, too
        assert await run(await loaded(runtime, docker_place.spec(), ECHO), n=1) == {"n": 1}


async def test_a_call_that_the_engine_never_answers_ends_the_start(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place, start_timeout=Seconds(0.2)) as (trouble, runtime):
        with trouble.holding(STEPS["start"]):
            failure = await failed_by(runtime.create(docker_place.spec(), RecordedOutput()))

        assert "start: no answer within 0.2 s" in str(failure)
        await until(lambda: not docker_place.containers())


async def failed_by(work: Any) -> StartFailed:
    with pytest.raises(StartFailed) as caught:
        await work
    return caught.value


async def lost_by(work: Any) -> Lost:
    with pytest.raises(Lost) as caught:
        await work
    return caught.value
