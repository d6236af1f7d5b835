"""Registries that ask who pulls: a real one, and the files and helpers in which credentials may be."""

import asyncio
import base64
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from invoker.entities.runtimes import Runtime
from invoker.errors import SettingsError, StartFailed
from invoker_docker.images import ImageReference
from invoker_docker.registries import RegistryConfig
from invoker_docker.runtime import docker_runtime
from tests.plugins.runtime_docker.invoker_place import InvokerPlace
from tests.plugins.runtime_docker.registry import images_on, ours, removed_from, theirs
from tests.plugins.runtime_docker.stand_in import says, stand_in
from tests.plugins.runtime_docker.tiny_image import imported
from tests.services.images import run

USER, PASSWORD = "zoe", "sec:ret"
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HASHED = "$2b$04$VXuoqO5za0YxlkymQKOCJekvttbbjOmVGC3u.NVbPX5AVKsyKpZPy"
"""The password, as htpasswd has it."""
CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/images}}}}
http: {{addr: "127.0.0.1:0"}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
"""
REFUSED = r"no basic auth credentials|unauthorized"
LISTENS = re.compile(rb"listening on (127\.0\.0\.1:\d+)")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, absent: Callable[[str], None]) -> Iterator[str]:
    """A registry that is private; its host and port."""
    if shutil.which("docker-registry") is None:
        absent("there is no `docker-registry` on PATH")
    folder = tmp_path_factory.mktemp("registry")
    (folder / "htpasswd").write_text(f"{USER}:{HASHED}\n")
    (folder / "config.yml").write_text(CONFIG.format(folder=folder))
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as serving:
        assert serving.stdout is not None
        said = next(filter(None, map(LISTENS.search, serving.stdout)), None)
        assert said is not None, "it has ended"
        yield said[1].decode()
        serving.terminate()


@pytest.fixture(scope="module")
def logged_in(registry: str, docker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the engine's own command line writes."""
    folder = tmp_path_factory.mktemp("config")
    done = run(docker_url, "--config", str(folder), "login", "--username", USER, "--password", PASSWORD, registry)
    assert done.returncode == 0, done.stderr
    return folder / "config.json"


@pytest.fixture(scope="module")
def private_image(registry: str, logged_in: Path, docker_url: str, absent: Callable[[str], None]) -> Iterator[str]:
    """An image that is in the registry, and not on the engine."""
    image = f"{registry}/team/tiny:1"
    with imported(docker_url, absent) as tiny, removed_from(docker_url, image):
        for command in (["tag", tiny, image], ["push", image], ["rmi", image]):
            done = run(docker_url, "--config", str(logged_in.parent), *command)
            assert done.returncode == 0, done.stderr
        yield image


async def test_a_private_image_is_pulled_with_the_credentials_of_a_login(
    docker_url: str, private_image: str, logged_in: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with removed_from(docker_url, private_image):
        async with images_on(docker_url, registry_config=logged_in) as images:
            await images.ensure(ours(private_image))

    assert not re.search(f"{PASSWORD}|{LOGIN}", caplog.text)


async def test_without_credentials_nobody_pulls_a_private_image(docker_url: str, private_image: str) -> None:
    async with images_on(docker_url) as images:
        with pytest.raises(StartFailed, match=REFUSED):
            await images.ensure(ours(private_image))


@pytest.mark.parametrize(("allowed", "pulled"), [(None, False), (("127.0.0.1:*/team/*",), True)])
async def test_an_action_has_the_operators_images_only_where_he_says_which_it_may_name(
    docker_url: str, private_image: str, logged_in: Path, allowed: tuple[str, ...] | None, *, pulled: bool
) -> None:
    with removed_from(docker_url, private_image):
        async with images_on(docker_url, registry_config=logged_in, images_allowed=allowed) as images:
            if pulled:
                await images.ensure(theirs(private_image))
            else:
                with pytest.raises(StartFailed, match=REFUSED):
                    await images.ensure(theirs(private_image))


async def test_who_may_not_use_the_credentials_does_not_join_who_may(tmp_path: Path) -> None:
    config = a_file(tmp_path, {"auths": {"example.org": {"auth": LOGIN}}})
    given: list[bool] = []
    both = asyncio.Event()

    async def pulled(request: web.Request) -> web.StreamResponse:
        given.append("X-Registry-Auth" in request.headers)
        if len(given) == 2:
            both.set()
        await both.wait()
        return await says("")(request)

    async with stand_in() as engine, images_on(engine.url, registry_config=config, pull="always") as images:
        engine.answers["POST /images/create"] = pulled
        await asyncio.gather(*(images.ensure(kind("example.org/resize:1")) for kind in (ours, theirs)))

    assert sorted(given) == [False, True]


def a_file(folder: Path, content: object) -> Path:
    path = folder / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def a_helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have a helper called `test` on PATH."""
    path = folder / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


async def test_a_helper_may_have_the_credentials(
    docker_url: str, registry: str, private_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.dumps({"ServerURL": registry, "Username": USER, "Secret": PASSWORD})
    a_helper(tmp_path, monkeypatch, f"test $1 = get && test $(cat) = {registry} && echo '{told}'")
    config = a_file(tmp_path, {"credHelpers": {registry: "test"}})

    with removed_from(docker_url, private_image):
        async with images_on(docker_url, registry_config=config) as images:
            await images.ensure(ours(private_image))


async def header(folder: Path, content: object, image: str) -> Any:
    """Return what an engine is told for an image, but for the address."""
    found = await RegistryConfig.read(a_file(folder, content)).header(ImageReference.parse(image).registry)
    if found is None:
        return None
    told = json.loads(base64.urlsafe_b64decode(found))
    del told["serveraddress"]
    return told


ZOE = {"username": USER, "password": PASSWORD}


@pytest.mark.parametrize(
    ("content", "image", "told"),
    [
        ({"auths": {"https://index.docker.io/v1/": {"auth": LOGIN}}}, "zoe/resize", ZOE),
        ({"auths": {"https://index.docker.io/v1/": {"auth": LOGIN}}}, "docker.io/zoe/resize:2", ZOE),
        ({"auths": {"docker.io": {"auth": LOGIN}}}, "zoe/resize", ZOE),
        ({"auths": {"https://index.docker.io/v1/": {"auth": LOGIN}}}, "example.org/zoe/resize", None),
        ({"auths": {"example.org": {"auth": LOGIN}}}, "example.org/zoe/resize", ZOE),
        ({"auths": {"https://example.org:5000/v2/": {"auth": LOGIN}}}, "example.org:5000/resize", ZOE),
        ({"auths": {"example.org": {"auth": LOGIN}}}, "example.org:5000/resize", None),
        ({"auths": {"example.org/zoe": {"auth": LOGIN}}}, "example.org/resize", None),
        ({"auths": {"example.org": ZOE}}, "example.org/resize", ZOE),
        ({"auths": {"example.org": {"auth": LOGIN, "identitytoken": "t"}}}, "example.org/x", {"identitytoken": "t"}),
        ({"auths": {"example.org": {}}}, "example.org/resize", None),
        ({"HttpHeaders": {"a": "b"}}, "example.org/resize", None),
    ],
)
async def test_credentials_are_for_their_registry_alone(
    tmp_path: Path, content: object, image: str, told: object
) -> None:
    assert await header(tmp_path, content, image) == told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"ServerURL": "", "Username": "<token>", "Secret": "t"}, {"identitytoken": "t"}),
        ({"ServerURL": "", "Username": "zoe", "Secret": "t"}, {"username": "zoe", "password": "t"}),
    ],
)
async def test_a_helper_for_all_registries_is_asked_by_the_name_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: object, told: object
) -> None:
    a_helper(tmp_path, monkeypatch, f"test $(cat) = https://index.docker.io/v1/ && echo '{json.dumps(said)}'")

    assert await header(tmp_path, {"credsStore": "test", "auths": {"docker.io": {}}}, "zoe/resize") == told


@pytest.mark.parametrize(
    "script", ["echo credentials not found in native keychain; exit 1", "exec sleep 60", "echo '[3]'"]
)
async def test_a_helper_without_an_answer_has_no_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, script: str
) -> None:
    monkeypatch.setattr("invoker_docker.registries.PATIENCE", 0.5)
    a_helper(tmp_path, monkeypatch, script)

    assert await header(tmp_path, {"credsStore": "test"}, "example.org/resize") is None
    assert "docker-credential-test gave no credentials for example.org" in caplog.text
    assert "keychain" not in caplog.text


async def test_a_helper_that_is_not_there_has_no_credentials(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await header(tmp_path, {"credsStore": "nonesuch"}, "example.org/resize") is None
    assert "docker-credential-nonesuch gave no credentials" in caplog.text


@pytest.mark.parametrize(
    "content", [f'{{"auths": {{"a": {{"auth": "{PASSWORD}', [PASSWORD], {"auths": {"a": PASSWORD}}]
)
async def test_a_file_that_can_not_be_used_is_named_without_its_content(
    docker_place: InvokerPlace, tmp_path: Path, content: object
) -> None:
    path = a_file(tmp_path, content)

    with pytest.raises(SettingsError, match=rf"docker\.registry_config: can't use {path}: ") as failed:
        async with docker_runtime(docker_place.but(registry_config=path).settings):
            pass

    assert PASSWORD not in str(failed.value)


async def test_credentials_that_are_none_fail_the_pull_and_are_not_told(docker_url: str, tmp_path: Path) -> None:
    config = a_file(tmp_path, {"auths": {"example.org": {"auth": "sec:ret"}}})
    async with images_on(docker_url, registry_config=config) as images:
        with pytest.raises(StartFailed, match=r"what it says of example\.org is no base64") as failed:
            await images.ensure(Runtime(kind="a:1", family="a", image="example.org/resize"))

    assert PASSWORD not in str(failed.value)


async def test_a_file_that_is_not_there_is_named(docker_place: InvokerPlace) -> None:
    path = Path("/nowhere/config.json")

    with pytest.raises(SettingsError, match=f"can't use {path}: No such file or directory"):
        async with docker_runtime(docker_place.but(registry_config=path).settings):
            pass
