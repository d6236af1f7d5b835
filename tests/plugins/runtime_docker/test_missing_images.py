"""Images of the runtimes manifest that aren't there and won't be fetched: told as the runtime opens."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from invoker import Settings
from invoker.config import RuntimesSettings
from invoker_docker.engine import connected
from invoker_docker.images import tell_missing
from invoker_docker.runtime import docker_runtime
from invoker_docker.settings import Pull
from tests.plugins.runtime_docker.engines import a_name, settings_for
from tests.plugins.runtime_docker.places import ECHO, Place, loaded, run
from tests.plugins.runtime_docker.stand_in import says, stand_in


def a_manifest(folder: Path, **images: str) -> RuntimesSettings:
    """Write a manifest with an image for each family."""
    families: dict[str, Any] = {}
    for family, image in images.items():
        name, _, tag = image.rpartition(":")
        families[family] = [{"kind": f"{family}:1", "image": {"name": name, "tag": tag}}]
    path = folder / "runtimes.json"
    path.write_text(json.dumps({"runtimes": families}))
    return RuntimesSettings(manifest=path)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if "lacks the image" in one.getMessage()]


async def test_a_missing_image_is_named_with_its_kinds_and_the_other_kinds_work(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = f"invoker-tests/{a_name()}:1"
    manifest = a_manifest(tmp_path, python=place.image, ruby=missing, perl=missing)

    async with docker_runtime(Settings.of(place.node, place.docker, manifest)) as runtime:
        assert await run(await loaded(runtime, place.spec(), ECHO), n=1) == {"n": 1}

    (text,) = warnings_in(caplog)
    assert text == (
        f'the engine lacks the image {missing} for ruby:1, perl:1, and docker.pull = "never" forbids to fetch it: '
        'build, pull or load it there, or set docker.pull = "missing"'
    )


@pytest.mark.parametrize("pull", ["missing", "always"])
async def test_an_image_that_will_be_pulled_is_not_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pull: Pull
) -> None:
    async with stand_in() as engine_there:
        settings = settings_for(engine_there.url, pull=pull)
        async with connected(settings) as engine:
            await tell_missing(engine, Settings.of(settings, a_manifest(tmp_path, ruby="none:1")))

    assert warnings_in(caplog) == []


async def test_what_can_not_be_told_of_an_image_is_no_reason_not_to_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with stand_in() as engine_there:
        engine_there.answers["GET /images/none:1/json"] = says({"message": "odd"}, status=500)
        settings = settings_for(engine_there.url, pull="never")
        async with connected(settings) as engine:
            await tell_missing(engine, Settings.of(settings, a_manifest(tmp_path, ruby="none:1", perl="gone:1")))
            await tell_missing(engine, Settings.of(settings, RuntimesSettings(manifest=tmp_path / "nowhere")))

    assert [text.split(" forbids")[0] for text in warnings_in(caplog)] == [
        'the engine lacks the image gone:1 for perl:1, and docker.pull = "never"'
    ]
