"""The kinds that images on the engine run."""

from typing import Any

import pytest

from invoker_docker.kinds import local_kinds
from invoker_docker.runtime import docker_runtime
from tests.plugins.runtime_docker.places import Place


def image(*tags: str, kind: str = "python:3", created: int = 0, **labels: str) -> dict[str, Any]:
    """Return a summary as an engine gives it."""
    ours = {f"functions-invoker.{name}": value for name, value in {"kind": kind, **labels}.items()}
    return {"RepoTags": list(tags), "Labels": ours, "Created": created}


async def test_the_images_that_are_there_can_be_asked_for_without_a_manifest(place: Place) -> None:
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
