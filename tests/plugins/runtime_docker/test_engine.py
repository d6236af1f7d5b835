"""What the calls do, on real engines."""

import asyncio

import pytest

from invoker_docker.engine import EngineDown, EngineError, connected
from tests.plugins.runtime_docker.engines import ALONE, a_name, settings_for


async def test_a_container_lives_and_is_removed(engine_url: str, image: str) -> None:
    name, labels = a_name(), {"invoker-tests": a_name()}
    async with connected(settings_for(engine_url)) as engine:
        identity = await engine.create(name, {"Image": image, "Labels": labels, **ALONE})
        created = await engine.inspect(name)
        await engine.start(identity)
        started = await engine.inspect(identity)
        await engine.start(identity)  # does no harm
        await engine.pause(identity)
        paused = await engine.inspect(identity)
        await engine.unpause(identity)
        resumed = await engine.inspect(identity)
        listed = await engine.containers(labels)
        await engine.remove(identity)
        with pytest.raises(EngineError) as gone:
            await engine.inspect(identity)
        left = await engine.containers(labels)

    assert created["State"]["Status"] == "created"
    assert started["State"]["Running"]
    assert paused["State"]["Paused"]
    assert not resumed["State"]["Paused"]
    assert [one["Id"] for one in listed] == [identity]
    assert gone.value.status == 404
    assert left == []


async def test_what_was_created_can_be_removed_by_its_name(engine_url: str, image: str) -> None:
    name = a_name()
    async with connected(settings_for(engine_url)) as engine:
        await engine.create(name, {"Image": image})
        await engine.remove(name)
        await engine.remove(name)  # it is gone, and that is all that was wanted
        with pytest.raises(EngineError, match=name):
            await engine.inspect(name)


async def test_a_paused_container_can_be_removed(engine_url: str, image: str) -> None:
    name = a_name()
    async with connected(settings_for(engine_url)) as engine:
        await engine.start(await engine.create(name, {"Image": image, **ALONE}))
        await engine.pause(name)
        await engine.remove(name)
        with pytest.raises(EngineError):
            await engine.inspect(name)


async def test_several_may_remove_a_container_at_once(engine_url: str, image: str) -> None:
    name = a_name()
    async with connected(settings_for(engine_url)) as engine:
        await engine.start(await engine.create(name, {"Image": image, **ALONE}))
        await asyncio.gather(*(engine.remove(name) for _ in range(5)))
        with pytest.raises(EngineError):
            await engine.inspect(name)


async def test_two_containers_can_not_have_one_name(engine_url: str, image: str) -> None:
    name = a_name()
    async with connected(settings_for(engine_url)) as engine:
        await engine.create(name, {"Image": image})
        with pytest.raises(EngineError, match=name) as refused:
            await engine.create(name, {"Image": image})
        await engine.remove(name)

    assert not isinstance(refused.value, EngineDown)


async def test_containers_are_listed_by_all_of_their_labels(engine_url: str, image: str) -> None:
    mine, kind = a_name(), a_name()
    async with connected(settings_for(engine_url)) as engine:
        ours = await engine.create(a_name(), {"Image": image, "Labels": {"of": mine, "kind": kind}})
        theirs = await engine.create(a_name(), {"Image": image, "Labels": {"of": a_name(), "kind": kind}})
        both = await engine.containers({"kind": kind})
        found = await engine.containers({"of": mine, "kind": kind})
        await asyncio.gather(engine.remove(ours), engine.remove(theirs))

    assert {one["Id"] for one in both} == {ours, theirs}
    assert [one["Id"] for one in found] == [ours]


async def test_images_are_there_or_not(engine_url: str, image: str) -> None:
    async with connected(settings_for(engine_url)) as engine:
        assert await engine.image_exists(image)
        assert not await engine.image_exists(f"{image}x")


async def test_an_engine_says_what_it_is(docker_url: str) -> None:
    async with connected(settings_for(docker_url)) as engine:
        await engine.ping()
        about = await engine.about()

    assert about == engine.kind
    assert (about.name, about.os) == ("docker", "linux")
    assert about.cgroup_version in (1, 2)


async def test_images_are_listed_by_a_label(engine_url: str, image: str) -> None:
    async with connected(settings_for(engine_url)) as engine:
        found = await engine.images("invoker-tests.tiny")
        others = await engine.images(a_name())

    assert image in [tag.removeprefix("docker.io/") for one in found for tag in one["RepoTags"]]
    assert others == []
