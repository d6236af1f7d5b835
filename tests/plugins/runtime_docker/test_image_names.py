"""Whose images may be pulled, which names are names of images, and the kinds that images run by their labels."""

from typing import Any

import pytest

from invoker.errors import StartFailed
from invoker_docker.images import local_kinds
from invoker_docker.runtime import docker_runtime
from tests.plugins.runtime_docker.invoker_place import InvokerPlace, a_name
from tests.plugins.runtime_docker.registry import images_on, ours, removed_from, serving, theirs
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


def image(*tags: str, kind: str = "python:3", created: int = 0, **labels: str) -> dict[str, Any]:
    """Return a summary as an engine gives it."""
    ours = {f"functions-invoker.{name}": value for name, value in {"kind": kind, **labels}.items()}
    return {"RepoTags": list(tags), "Labels": ours, "Created": created}


async def test_the_images_that_are_there_can_be_asked_for_without_a_manifest(place: InvokerPlace) -> None:
    async with docker_runtime(place.settings) as runtime:
        kinds = runtime.runtimes()

    python = kinds.resolve("python:default")
    assert python is not None
    assert "functions-invoker/python:" in python.image
    assert python.sentinelled_logs
    assert not python.pull


def test_an_image_may_have_several_kinds_of_which_the_first_may_be_the_default() -> None:
    kinds = local_kinds([image("functions-invoker/python:3", kind="python:3 python:3.11", default="true")])

    assert {runtime.kind: runtime.default for runtime in kinds} == {"python:3": True, "python:3.11": False}


def test_sentinels_are_awaited_only_from_images_that_promise_them() -> None:
    silent, telling = (
        local_kinds([image("functions-invoker/python:3", **labels)]).resolve("python:3")
        for labels in ({}, {"sentinels": "true"})
    )

    assert silent is not None
    assert telling is not None
    assert (silent.sentinelled_logs, telling.sentinelled_logs) == (False, True)


def test_the_newest_image_of_a_kind_runs_it() -> None:
    old = image("functions-invoker/python:old", created=1)
    new = image("functions-invoker/python:new", created=2)

    found = local_kinds([old, new]).resolve("python:3")

    assert found is not None
    assert found.image == "functions-invoker/python:new"


@pytest.mark.parametrize(
    "tags",
    [
        ["evil.example.org/functions-invoker/python:3"],
        ["functions-invoker/python-extended:3"],
        ["python:3"],
        ["someone/python:3"],
        ["<none>:<none>"],
        [],
    ],
)
def test_an_image_that_only_has_the_labels_offers_nothing(tags: list[str]) -> None:
    assert len(local_kinds([image(*tags)])) == 0


@pytest.mark.parametrize("name", ["docker.io/functions-invoker/python:3", "localhost/functions-invoker/python:3"])
def test_podmans_names_for_them_are_understood(name: str) -> None:
    assert [runtime.image for runtime in local_kinds([image("other:1", name)])] == [name]


@pytest.mark.parametrize("kind", ["", "python", "python:", ":3", "python:default"])
def test_what_is_no_kind_offers_nothing(kind: str) -> None:
    assert len(local_kinds([image("functions-invoker/python:3", kind=kind)])) == 0


def test_answers_without_labels_and_names_are_understood() -> None:
    assert len(local_kinds([{"RepoTags": None, "Labels": None}, {}])) == 0
