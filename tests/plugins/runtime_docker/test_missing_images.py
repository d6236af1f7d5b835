"""Images of kinds that aren't on the engine and won't be fetched: told before anybody asks for one."""

import asyncio

import pytest

from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import StartFailed
from invoker_docker.engine import connected
from invoker_docker.images import Images
from invoker_docker.runtime import docker_runtime
from invoker_docker.settings import Pull
from tests.plugins.runtime_docker.engines import a_name, settings_for
from tests.plugins.runtime_docker.places import ECHO, Place, in_trouble, loaded, run
from tests.plugins.runtime_docker.stand_in import says, stand_in


def kinds(**images: str) -> Runtimes:
    """Return a kind of each family, with its image."""
    return Runtimes([Runtime(kind=f"{family}:1", family=family, image=image) for family, image in images.items()])


async def test_a_missing_image_is_named_with_its_kinds_and_the_other_kinds_work(place: Place) -> None:
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
            assert not await Images(engine, settings, tasks).lacking(kinds(ruby="none:1"))


async def test_what_can_not_be_told_of_an_image_is_not_said() -> None:
    async with stand_in() as engine_there, asyncio.TaskGroup() as tasks:
        engine_there.answers["GET /images/none:1/json"] = says({"message": "odd"}, status=500)
        settings = settings_for(engine_there.url, pull="never")
        async with connected(settings) as engine:
            lacking = await Images(engine, settings, tasks).lacking(kinds(ruby="none:1", perl="gone:1", tcl="No Name"))

    assert [text.split(" forbids")[0] for text in lacking] == [
        'the engine lacks the image gone:1 for perl:1, and docker.pull = "never"'
    ]


async def test_an_engine_that_does_not_answer_can_not_be_used(docker_place: Place) -> None:
    async with in_trouble(docker_place) as (trouble, runtime):
        trouble.die()

        with pytest.raises(StartFailed, match=r"the container engine at .* can't be used: "):
            await runtime.lacking(kinds(python="any:1"))
