"""What operators see."""

import json
from http import HTTPStatus

import pytest

from invoker.config import Settings
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker_http.serving import serving
from tests.plugins.transport_http.caller import Got, calling, get, http


async def ask(target: str, operator: FakeOperations | None = None, method: str = "GET") -> Got:
    settings = Settings.of(http(admin="127.0.0.1:0"))
    async with serving(settings, FakeIntake(), operator or FakeOperations()) as addresses:
        assert addresses.admin is not None
        async with calling(addresses.admin) as caller:
            return await caller.ask(get(target, method=method))


async def test_ping_pongs() -> None:
    got = await ask("/ping")

    assert (got.status, got.body) == (HTTPStatus.OK, b"pong")


async def test_it_is_alive_even_with_faults() -> None:
    operator = FakeOperations()
    operator.told = ["the runtime does not answer"]

    assert (await ask("/livez", operator)).status == HTTPStatus.OK


async def test_it_is_ready_without_faults() -> None:
    got = await ask("/readyz")

    assert (got.status, got.body) == (HTTPStatus.OK, b"ready")


async def test_faults_are_why_it_is_not_ready() -> None:
    operator = FakeOperations()
    operator.told = ["the runtime does not answer", "stopping"]

    got = await ask("/readyz", operator)

    assert got.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert json.loads(got.body) == ["the runtime does not answer", "stopping"]


async def test_metrics_are_in_the_format_of_prometheus() -> None:
    got = await ask("/metrics")

    assert got.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert got.body == FakeOperations().metrics()


async def test_info_is_json() -> None:
    got = await ask("/info?pretty")

    assert got.headers["Content-Type"] == "application/json"
    assert json.loads(got.body) == FakeOperations().info()


async def test_the_pool_is_json() -> None:
    got = await ask("/pool")

    assert got.headers["Content-Type"] == "application/json"
    assert json.loads(got.body) == FakeOperations().pool()


@pytest.mark.parametrize("target", ["/", "/invoke", "/metrics/", "/pool/count"])
async def test_other_paths_say_what_there_is(target: str) -> None:
    got = await ask(target)

    assert got.status == HTTPStatus.NOT_FOUND
    assert "/readyz" in json.loads(got.body)["error"]


async def test_nothing_can_be_changed() -> None:
    got = await ask("/ping", method="DELETE")

    assert (got.status, got.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD")
