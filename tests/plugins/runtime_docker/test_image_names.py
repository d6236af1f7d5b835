"""Whose images may be pulled, and which names are names of images."""

import pytest

from invoker.errors import StartFailed
from tests.plugins.runtime_docker.engines import a_name
from tests.plugins.runtime_docker.pulling import images_on, ours, removed_from, theirs
from tests.plugins.runtime_docker.registry import serving
from tests.plugins.runtime_docker.stand_in import says, stand_in
from tests.plugins.runtime_docker.tiny_image import asked


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

    assert any("POST" in one and "/images/create" in one for one in engine_there.asked)


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
