"""Engines across a network: encrypted, and known to be who they are."""

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import SettingsError
from invoker_docker.engine import EngineDown, connected
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.stand_in import StandIn, stand_in
from tests.plugins.transport_http.certificates import Certificates, issued


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

    assert engine.ssl is not None  # for whoever attaches
    assert engine.address.host == "localhost"


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
