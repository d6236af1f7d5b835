"""Callers that say who they are, with a password or a certificate."""

import base64
import ssl
import warnings
from http import HTTPStatus

import pytest

from invoker.config import Secret
from invoker.testing.intake import FakeIntake
from invoker.testing.transport import a_message
from invoker_http.settings import HttpSettings
from tests.plugins.transport_http.caller import calling, get, http, listening, post
from tests.plugins.transport_http.certificates import Certificates


def basic(text: str, scheme: str = "Basic") -> str:
    return f"Authorization: {scheme} {base64.b64encode(text.encode()).decode()}"


def guarded(listener: str) -> HttpSettings:
    return http(listener=listener, username="controller", password=Secret("p\u00e4ss:word"))


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
async def test_who_knows_the_password_is_let_in(listener: str, scheme: str) -> None:
    async with listening(FakeIntake(), guarded(listener)) as url, calling(url) as caller:
        got = await caller.ask(post(a_message(), basic("controller:p\u00e4ss:word", scheme)))

    assert got.status == HTTPStatus.OK


@pytest.mark.parametrize(
    "header",
    [
        "X-Nothing: at all",
        basic("controller:wrong"),
        basic("somebody:p\u00e4ss:word"),
        basic("controller:p\u00e4ss:word", "Bearer"),
        basic("controller:p\u00e4ss:word")[:-1],
        "Authorization: Basic",
        "Authorization: Basic \u00ff\u2028",
        "Authorization:",
    ],
)
async def test_who_does_not_is_not(listener: str, header: str) -> None:
    intake = FakeIntake()

    async with listening(intake, guarded(listener)) as url:
        async with calling(url) as caller:
            got = await caller.ask(post(a_message(), header))
        async with calling(url) as caller:
            elsewhere = await caller.ask(get("/elsewhere", header))

    assert got.status == elsewhere.status == HTTPStatus.UNAUTHORIZED
    assert got.headers["WWW-Authenticate"] == 'Basic realm="invoker", charset="UTF-8"'
    assert not intake.events


async def test_ping_needs_no_password(listener: str) -> None:
    async with listening(FakeIntake(), guarded(listener)) as url, calling(url) as caller:
        got = await caller.ask(get("/ping"))

    assert got.status == HTTPStatus.OK


async def test_a_caller_without_a_certificate_is_not_heard(listener: str, certificates: Certificates) -> None:
    intake = FakeIntake()
    settings = http(listener=listener, tls=certificates.settings(ask_callers=True))

    async with listening(intake, settings) as url:
        with pytest.raises((ConnectionError, ssl.SSLError, EOFError)):
            async with calling(url, certificates.client(certified=False)) as caller:
                await caller.ask(post(a_message()))

    assert not intake.events


async def test_nobody_speaks_old_tls(listener: str, certificates: Certificates) -> None:
    settings = http(listener=listener, tls=certificates.settings(ask_callers=False))
    old = certificates.client(certified=False)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1

    async with listening(FakeIntake(), settings) as url:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with calling(url, old):
                pass
        async with calling(url, certificates.client(certified=False)) as caller:
            got = await caller.ask(post(a_message()))

    assert got.status == HTTPStatus.OK


async def test_plain_http_on_an_encrypted_listener_gets_nowhere(listener: str, certificates: Certificates) -> None:
    intake = FakeIntake()

    async with listening(intake, http(listener=listener, tls=certificates.settings(ask_callers=False))) as url:
        with pytest.raises((ConnectionError, EOFError)):
            async with calling(url) as caller:
                await caller.ask(post(a_message()))

    assert not intake.events
