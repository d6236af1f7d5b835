"""The engine's calls, on real engines, and across a network: encrypted, and known to be who they are."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import SettingsError
from invoker_docker.engine import connected
from invoker_docker.failures import EngineDown, EngineError
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.invoker_place import ALONE, a_name, settings_for
from tests.plugins.runtime_docker.stand_in import StandIn, stand_in
from tests.plugins.transport_http.certificates import Certificates, issued


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
        assert not engine.able.podman
        assert "runc" in engine.able.oci_runtimes


async def test_images_are_listed_by_a_label(engine_url: str, image: str) -> None:
    async with connected(settings_for(engine_url)) as engine:
        found = await engine.images("invoker-tests.tiny")
        others = await engine.images(a_name())

    assert image in [tag.removeprefix("docker.io/") for one in found for tag in one["RepoTags"]]
    assert others == []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return issued(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def encrypted(certificates: Certificates) -> AsyncIterator[StandIn]:
    """Run an engine that asks for a certificate, as `dockerd --tlsverify` does."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.verify_mode = ssl.CERT_REQUIRED
    async with stand_in(context) as engine_there:
        yield engine_there


def files(certificates: Certificates, **more: Any) -> dict[str, Any]:
    own = {"tls_cert": certificates.caller, "tls_key": certificates.caller_key}
    return {"tls_ca": certificates.authority} | own | more


async def test_an_engine_is_spoken_to_with_both_sides_certificates(certificates: Certificates) -> None:
    def settings(url: str) -> DockerSettings:
        return DockerSettings(url=url, **files(certificates))

    async with encrypted(certificates) as there, connected(settings(there.url)) as engine:
        await engine.ping()
        await engine.remove("c")

    assert "GET /_ping" in there.asked


async def test_an_engine_of_an_unknown_authority_is_none(certificates: Certificates, tmp_path: Path) -> None:
    others = issued(tmp_path)
    async with encrypted(certificates) as engine_there:
        settings = DockerSettings(url=engine_there.url, **files(certificates, tls_ca=others.authority))
        with pytest.raises(EngineDown, match="certificate verify failed"):
            async with connected(settings):
                pass


async def test_an_engine_that_wants_a_certificate_takes_nobody_without(certificates: Certificates) -> None:
    async with encrypted(certificates) as engine_there:
        settings = DockerSettings(url=engine_there.url, tls_ca=certificates.authority)
        with pytest.raises(EngineDown):
            async with connected(settings):
                pass

    assert engine_there.asked == []


async def test_an_engine_without_encryption_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(EngineDown):
        async with connected(DockerSettings(url="tcp://127.0.0.1:1")):
            pass

    assert "the engine at tcp://127.0.0.1:1 is spoken to without TLS" in caplog.text


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"tls_ca": Path("/nowhere/ca.pem")}, r"docker\.tls_ca: can't read /nowhere/ca\.pem: No such file"),
        ({"tls_cert": Path("/nowhere/c.pem")}, r"docker\.tls_cert: can't read /nowhere/c\.pem: No such file"),
        ({"tls_key": Path("/nowhere/k.pem")}, r"docker\.tls_key: can't read /nowhere/k\.pem: No such file"),
        ({"tls_ca": Path(__file__)}, r"docker\.tls_ca: .* holds no certificate in PEM format"),
        ({"tls_cert": Path(__file__)}, r"docker: .* are no certificate with its key"),
    ],
)
async def test_a_file_that_is_of_no_use_is_named(certificates: Certificates, more: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        async with connected(DockerSettings(url="tcp://localhost:1", **files(certificates, **more))):
            pass


async def test_nobody_is_asked_for_the_password_of_a_key(certificates: Certificates) -> None:
    settings = DockerSettings(
        url="tcp://localhost:1", **files(certificates, tls_cert=certificates.authority, tls_key=certificates.locked_key)
    )
    with pytest.raises(SettingsError, match=r"docker\.tls_key: the key is encrypted"):
        async with connected(settings):
            pass
