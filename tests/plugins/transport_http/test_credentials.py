"""Callers that say who they are, with a password or a certificate."""

import base64
import ssl
import warnings
from http import HTTPStatus
from typing import Any

import pytest

from invoker.config import Secret
from invoker.testing.intake import FakeIntake
from invoker.testing.transport import a_message
from tests.plugins.transport_http.caller import calling, get, http, listening, one_caller, post
from tests.plugins.transport_http.certificates import Certificates

GUARDED: dict[str, Any] = {"username": "controller", "password": Secret("p\u00e4ss:word")}


def basic(text: str, scheme: str = "Basic") -> str:
    return f"Authorization: {scheme} {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
async def test_who_knows_the_password_is_let_in(scheme: str) -> None:
    async with one_caller(**GUARDED) as caller:
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
async def test_who_does_not_is_not(header: str) -> None:
    intake = FakeIntake()

    async with listening(intake, http(**GUARDED)) as url:
        async with calling(url) as caller:
            got = await caller.ask(post(a_message(), header))
        async with calling(url) as caller:
            elsewhere = await caller.ask(get("/elsewhere", header))

    assert got.status == elsewhere.status == HTTPStatus.UNAUTHORIZED
    assert got.headers["WWW-Authenticate"] == 'Basic realm="invoker", charset="UTF-8"'
    assert not intake.events


async def test_ping_needs_no_password() -> None:
    async with one_caller(**GUARDED) as caller:
        got = await caller.ask(get("/ping"))

    assert got.status == HTTPStatus.OK


async def test_a_caller_without_a_certificate_is_not_heard(certificates: Certificates) -> None:
    intake = FakeIntake()

    async with listening(intake, http(tls=certificates.settings(ask_callers=True))) as url:
        with pytest.raises((ConnectionError, ssl.SSLError, EOFError)):
            async with calling(url, certificates.client(certified=False)) as caller:
                await caller.ask(post(a_message()))

    assert not intake.events


async def test_nobody_speaks_old_tls(certificates: Certificates) -> None:
    old = certificates.client(certified=False)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1

    async with listening(FakeIntake(), http(tls=certificates.settings(ask_callers=False))) as url:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with calling(url, old):
                pass
        async with calling(url, certificates.client(certified=False)) as caller:
            got = await caller.ask(post(a_message()))

    assert got.status == HTTPStatus.OK


async def test_plain_http_on_an_encrypted_listener_gets_nowhere(certificates: Certificates) -> None:
    intake = FakeIntake()

    async with one_caller(intake, tls=certificates.settings(ask_callers=False)) as caller:
        with pytest.raises((ConnectionError, EOFError)):
            await caller.ask(post(a_message()))

    assert not intake.events
