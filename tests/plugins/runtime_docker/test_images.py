"""Images: pulled or not, by whom, how often, and whose fault it is when there are none."""

import asyncio
import http.client
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aiohttp import web

from invoker.config import Seconds
from invoker.entities.runtimes import Runtime
from invoker.errors import StartFailed
from invoker_docker.engine import EngineDown, EngineError, connected
from invoker_docker.images import Images
from tests.plugins.runtime_docker.engines import a_name, settings_for
from tests.plugins.runtime_docker.registry import serving
from tests.plugins.runtime_docker.stand_in import cut, never, says, stand_in
from tests.plugins.runtime_docker.tiny_image import asked, layer

Absent = Callable[[str], None]


@pytest.fixture(scope="session")
def tiny_layer(absent: Absent) -> bytes:
    return layer(absent)


def ours(image: str) -> Runtime:
    """An image of the runtimes manifest."""
    return Runtime(kind="python:3.11", family="python", image=image)


def theirs(image: str) -> Runtime:
    """An image that an action names itself."""
    return Runtime(kind="blackbox", family="blackbox", image=image, pull=True)


@asynccontextmanager
async def images_on(url: str, **settings: Any) -> AsyncIterator[Images]:
    chosen = settings_for(url, **settings)
    async with connected(chosen) as engine, asyncio.TaskGroup() as tasks:
        yield Images(engine, chosen, tasks)


@contextmanager
def removed_from(url: str, *images: str) -> Iterator[None]:
    """Leave none of these images on an engine."""
    try:
        yield
    finally:
        for image in images:
            status, said = asked(url, "DELETE", f"/images/{image}?force=1")
            assert status in (http.client.OK, http.client.NOT_FOUND), said


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


@pytest.mark.parametrize(
    ("image", "patterns"),
    [
        ("team/proc", ("team/*",)),
        ("team/proc:1.4", ("team/proc",)),
        ("team/proc:1.4", ("other", "team/*:1.?")),
        ("docker.io/team/proc", ("team/*",)),
        ("team/proc", ("docker.io/team/*",)),
        ("busybox", ("docker.io/library/busybox:latest",)),
        ("docker.io/library/busybox", ("busybox",)),
        ("registry.example.org:5000/a/b/c:1", ("registry.example.org:5000/**",)),
        ("localhost/a", ("localhost/*",)),
    ],
)
async def test_an_image_that_is_allowed_is_pulled(image: str, patterns: tuple[str, ...]) -> None:
    async with stand_in() as engine_there, images_on(engine_there.url, images_allowed=patterns) as images:
        engine_there.answers["POST /images/create"] = says("")
        await images.ensure(theirs(image))


@pytest.mark.parametrize(
    ("image", "patterns"),
    [
        ("team/proc", ()),
        ("other/proc", ("team/*",)),
        ("team/sub/proc", ("team/*",)),
        ("example.com/team/proc", ("team/*",)),
        ("example.com/x.example.org/proc", ("*.example.org/**",)),
        ("teamx/proc", ("team.*",)),
        ("team/proc:2", ("team/proc:1",)),
        ("busybox", ("example.org/busybox",)),
    ],
)
async def test_an_image_that_is_not_allowed_is_its_developers_fault(image: str, patterns: tuple[str, ...]) -> None:
    async with stand_in() as engine_there, images_on(engine_there.url, images_allowed=patterns) as images:
        before = list(engine_there.asked)
        with pytest.raises(StartFailed) as failed:
            await images.ensure(theirs(image))
        assert engine_there.asked == before

    assert failed.value.developer_fault
    assert failed.value.public == f"The container image '{image}' is not allowed here."


async def test_images_of_the_manifest_are_the_operators_own() -> None:
    async with stand_in() as engine_there, images_on(engine_there.url, images_allowed=()) as images:
        engine_there.answers["GET /images/a:1/json"] = says({"Id": "sha256:0"})
        await images.ensure(ours("a:1"))


@pytest.mark.parametrize("image", ["../x", "A/B", "a b", "a:b:c", "http://a/b"])
async def test_a_name_that_is_none_is_not_asked_for(image: str) -> None:
    async with stand_in() as engine_there, images_on(engine_there.url) as images:
        before = list(engine_there.asked)
        with pytest.raises(StartFailed) as failed:
            await images.ensure(theirs(image))
        assert engine_there.asked == before

    assert failed.value.public == f"Failed to pull container image '{image}'."


async def test_a_kind_without_an_image_can_not_run_here() -> None:
    async with stand_in() as engine_there, images_on(engine_there.url) as images:
        with pytest.raises(StartFailed, match=r"'python:3\.11' has no image: name one in the runtimes manifest"):
            await images.ensure(ours(""))


async def test_an_id_can_not_be_used_to_run_others_images(docker_url: str, tiny_layer: bytes) -> None:
    async with serving(tiny_layer) as registry, images_on(docker_url, pull_user_images="never") as images:
        image = registry.image(a_name())
        with removed_from(docker_url, image):
            await images.ensure(ours(image))
            _, found = asked(docker_url, "GET", f"/images/{image}/json")
            identity = found.partition(b'"sha256:')[2][:12].decode()
            with pytest.raises(StartFailed):
                await images.ensure(theirs(identity))
