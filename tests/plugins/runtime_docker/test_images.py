"""Images: pulled or not, by whom, how often, and whose fault it is when there are none."""

import asyncio
import logging

import pytest
from aiohttp import web

from invoker.config import Seconds
from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import StartFailed
from invoker_docker.engine import connected
from invoker_docker.failures import EngineDown, EngineError
from invoker_docker.images import EngineImages
from invoker_docker.runtime import docker_runtime
from invoker_docker.settings import Pull
from tests.plugins.runtime_docker.invoker_place import ECHO, InvokerPlace, a_name, in_trouble, loaded, run, settings_for
from tests.plugins.runtime_docker.registry import images_on, ours, removed_from, serving, theirs
from tests.plugins.runtime_docker.stand_in import cut, never, says, stand_in


async def test_an_image_of_the_manifest_is_pulled_once(docker_url: str, tiny_layer: bytes) -> None:
    async with serving(tiny_layer) as registry, images_on(docker_url) as images:
        image = registry.image("python:3")
        with removed_from(docker_url, image):
            await images.ensure(ours(image))
            await images.ensure(ours(image))

    assert registry.asked == ["python:3"]


async def test_an_image_that_an_action_names_is_pulled_each_time(docker_url: str, tiny_layer: bytes) -> None:  # 10.8.2
    async with serving(tiny_layer) as registry, images_on(docker_url) as images:
        image = registry.image("team/proc")
        with removed_from(docker_url, image):
            await images.ensure(theirs(image))
            await images.ensure(theirs(image))

    assert registry.asked == ["team/proc:latest", "team/proc:latest"]


async def test_an_image_that_nobody_can_pull_is_its_developers_fault(docker_url: str, tiny_layer: bytes) -> None:
    async with serving(tiny_layer) as registry, images_on(docker_url) as images:
        image = f"{registry.authority}/team/none:1"
        with pytest.raises(StartFailed) as failed:
            await images.ensure(theirs(image))

    assert failed.value.developer_fault  # T12
    assert failed.value.public == f"Failed to pull container image '{image}'."
    assert registry.asked == ["team/none:1"]


async def test_an_image_of_the_manifest_that_nobody_can_pull_is_ours(docker_url: str, tiny_layer: bytes) -> None:
    async with serving(tiny_layer) as registry, images_on(docker_url) as images:
        with pytest.raises(StartFailed, match="load it there, or correct the runtimes manifest") as failed:
            await images.ensure(ours(f"{registry.authority}/none:1"))

    assert not failed.value.developer_fault
    assert failed.value.public is None


async def test_an_old_image_is_better_than_none(
    docker_url: str, tiny_layer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tiny_layer) as registry, images_on(docker_url) as images:
        image = registry.image("team/proc:1.4")
        with removed_from(docker_url, image):
            await images.ensure(theirs(image))
            registry.names.clear()
            with caplog.at_level(logging.WARNING):
                await images.ensure(theirs(image))  # 10.8.2

    assert "is used as it is, since it can't be pulled" in caplog.text


@pytest.mark.parametrize("name", ["team/proc", "team/proc:latest"])
async def test_an_old_latest_image_is_none(docker_url: str, tiny_layer: bytes, name: str) -> None:
    async with serving(tiny_layer) as registry, images_on(docker_url) as images:
        image = registry.image(name)
        with removed_from(docker_url, image):
            await images.ensure(theirs(image))
            registry.names.clear()
            with pytest.raises(StartFailed) as failed:
                await images.ensure(theirs(image))

    assert failed.value.public == f"Failed to pull container image '{image}'."  # as it was written


async def test_user_images_can_be_pulled_once_too(docker_url: str, tiny_layer: bytes) -> None:
    async with serving(tiny_layer) as registry, images_on(docker_url, pull_user_images="missing") as images:
        image = registry.image("team/proc")
        with removed_from(docker_url, image):
            await images.ensure(theirs(image))
            await images.ensure(theirs(image))

    assert registry.asked == ["team/proc:latest"]


@pytest.mark.parametrize("policy", ["never", "missing", "always"])
async def test_what_is_told_about_a_missing_image_can_be_done(policy: str) -> None:
    async with stand_in() as engine_there, images_on(engine_there.url, pull=policy) as images:
        with pytest.raises(
            StartFailed, match=r"the engine lacks the image 'a:1' of the kind 'python:3\.11' .*docker\.pull|load"
        ):
            await images.ensure(ours("a:1"))


async def test_nothing_is_pulled_where_that_is_forbidden() -> None:
    async with stand_in() as engine_there:
        async with images_on(engine_there.url, pull="never", pull_user_images="never") as images:
            with pytest.raises(StartFailed, match=r'docker\.pull = "never" forbids to fetch it'):
                await images.ensure(ours("a:1"))
            with pytest.raises(StartFailed) as failed:
                await images.ensure(theirs("a:1"))

        assert not any("images/create" in path for path in engine_there.asked)
    assert failed.value.developer_fault


async def test_simultaneous_pulls_are_one(docker_url: str, tiny_layer: bytes) -> None:
    async with serving(tiny_layer) as registry, images_on(docker_url) as images:
        image = registry.image("team/proc")
        registry.open.clear()
        with removed_from(docker_url, image):
            waiting = [asyncio.ensure_future(images.ensure(theirs(image))) for _ in range(4)]
            await registry.arrived.wait()
            waiting[0].cancel()
            await asyncio.wait({waiting[0]})
            registry.open.set()
            await asyncio.gather(*waiting[1:])

    assert waiting[0].cancelled()
    assert registry.asked == ["team/proc:latest"]


async def test_a_pull_that_nobody_waits_for_any_more_is_given_up() -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def pulling(request: web.Request) -> web.StreamResponse:
        arrived.set()
        try:
            return await never(request)
        finally:
            left.set()

    async with stand_in() as engine_there, images_on(engine_there.url) as images:
        engine_there.answers["POST /images/create"] = pulling
        waiting = [asyncio.ensure_future(images.ensure(theirs("a:1"))) for _ in range(2)]
        await arrived.wait()
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        await left.wait()  # the engine learns that it need not go on
        engine_there.answers["POST /images/create"] = says("")
        await images.ensure(theirs("a:1"))

    assert [each.cancelled() for each in waiting] == [True, True]
    assert engine_there.asked[2:] == ["POST /v1.41/images/create?fromImage=a:1"] * 2


async def test_pulls_of_different_images_do_not_wait_for_each_other(docker_url: str, tiny_layer: bytes) -> None:
    async with serving(tiny_layer) as slow, serving(tiny_layer) as quick, images_on(docker_url) as images:
        held, free = slow.image("a"), quick.image("b")
        slow.open.clear()
        with removed_from(docker_url, held, free):
            waiting = asyncio.ensure_future(images.ensure(theirs(held)))
            await slow.arrived.wait()
            await images.ensure(theirs(free))
            assert not waiting.done()
            slow.open.set()
            await waiting


async def test_a_registry_that_never_answers_is_not_the_engines_fault() -> None:
    settings = {"pull_timeout": Seconds(0.05)}
    async with stand_in() as engine_there, images_on(engine_there.url, **settings) as images:
        engine_there.answers["POST /images/create"] = never
        with pytest.raises(StartFailed, match="the registry sent no image within 50 ms") as failed:
            await images.ensure(theirs("a:1"))

    assert failed.value.developer_fault  # T12: or one user takes the invoker down


async def test_an_error_in_the_middle_of_a_pull_is_seen() -> None:
    async def failing(request: web.Request) -> web.StreamResponse:
        lines = b'{"status":"Pulling from a"}\r\n\r\n{"errorDetail":{"message":"denied"},"error":"denied"}\r\n'
        return web.Response(body=lines, content_type="application/json")

    async with stand_in() as engine_there, connected(settings_for(engine_there.url)) as engine:
        engine_there.answers["POST /images/create"] = failing
        with pytest.raises(EngineError, match="denied") as refused:
            await engine.pull("a:1")

    assert not isinstance(refused.value, EngineDown)


async def test_an_engine_that_dies_in_the_middle_of_a_pull_has_not_pulled() -> None:
    async with stand_in() as engine_there, images_on(engine_there.url) as images:
        engine_there.answers["POST /images/create"] = cut
        engine_there.answers["GET /images/a:1/json"] = says({"Id": "sha256:0"})
        waiting = [asyncio.ensure_future(images.ensure(theirs("a:1"))) for _ in range(3)]
        failures = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(failure) for failure in failures] == [EngineDown] * 3
    assert len({id(failure) for failure in failures}) == 3  # tracebacks are not shared


def kinds(**images: str) -> Runtimes:
    """Return a kind of each family, with its image."""
    return Runtimes([Runtime(kind=f"{family}:1", family=family, image=image) for family, image in images.items()])


async def test_a_missing_image_is_named_with_its_kinds_and_the_other_kinds_work(place: InvokerPlace) -> None:
    missing = f"invoker-tests/{a_name()}:1"

    async with docker_runtime(place.settings) as runtime:
        lacking = await runtime.lacking(kinds(python=place.image, ruby=missing, perl=missing))
        assert await run(await loaded(runtime, place.spec(), ECHO), n=1) == {"n": 1}

    (text,) = lacking
    assert text == (
        f'the engine lacks the image {missing} for ruby:1, perl:1, and docker.pull = "never" forbids to fetch it: '
        'build, pull or load it there, or set docker.pull = "missing"'
    )


@pytest.mark.parametrize("pull", ["missing", "always"])
async def test_an_image_that_will_be_pulled_is_not_missed(pull: Pull) -> None:
    async with stand_in() as engine_there, asyncio.TaskGroup() as tasks:
        settings = settings_for(engine_there.url, pull=pull)
        async with connected(settings) as engine:
            assert not await EngineImages(engine, tasks).lacking(kinds(ruby="none:1"))


async def test_what_can_not_be_told_of_an_image_is_not_said() -> None:
    async with stand_in() as engine_there, asyncio.TaskGroup() as tasks:
        engine_there.answers["GET /images/none:1/json"] = says({"message": "odd"}, status=500)
        settings = settings_for(engine_there.url, pull="never")
        async with connected(settings) as engine:
            lacking = await EngineImages(engine, tasks).lacking(kinds(ruby="none:1", perl="gone:1", tcl="No Name"))

    assert [text.split(" forbids")[0] for text in lacking] == [
        'the engine lacks the image gone:1 for perl:1, and docker.pull = "never"'
    ]


async def test_an_engine_that_does_not_answer_can_not_be_used(docker_place: InvokerPlace) -> None:
    async with in_trouble(docker_place) as (trouble, runtime):
        trouble.die()

        with pytest.raises(StartFailed, match=r"the container engine at .* can't be used: "):
            await runtime.lacking(kinds(python="any:1"))
