"""What operators see."""

import json
from http import HTTPStatus

import pytest

from invoker.config import Settings
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker_http.transport import opened
from tests.plugins.transport_http.caller import Got, calling, get, http


async def ask(target: str, *faults: str, method: str = "GET") -> Got:
    operations = FakeOperations()
    operations.told = list(faults)
    async with opened(Settings.of(http(admin="127.0.0.1:0")), FakeIntake(), operations) as transport:
        assert transport.operators_url is not None
        async with calling(transport.operators_url) as caller:
            return await caller.ask(get(target, method=method))


@pytest.mark.parametrize(
    ("target", "faults", "status", "body"),
    [
        ("/ping", ("draining",), 200, b"pong"),
        ("/livez", ("the runtime does not answer",), 200, b"alive"),
        ("/readyz", (), 200, b"ready"),
        ("/readyz", ("draining", "the runtime does not answer"), 503, b'["draining","the runtime does not answer"]'),
    ],
)
async def test_it_tells_whether_it_is_alive_and_may_be_given_work(
    target: str, faults: tuple[str, ...], status: int, body: bytes
) -> None:
    got = await ask(target, *faults)

    assert (got.status, got.body) == (status, body)


async def test_metrics_are_in_the_format_of_prometheus() -> None:
    got = await ask("/metrics")

    assert got.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert got.body == FakeOperations().metrics()


@pytest.mark.parametrize(
    ("target", "told"), [("/info?pretty", FakeOperations().info()), ("/pool", FakeOperations().pool())]
)
async def test_who_it_is_and_what_it_holds_is_json(target: str, told: object) -> None:
    got = await ask(target)

    assert got.headers["Content-Type"] == "application/json"
    assert json.loads(got.body) == told


@pytest.mark.parametrize("target", ["/", "/invoke", "/metrics/", "/pool/count"])
async def test_other_paths_say_what_there_is(target: str) -> None:
    got = await ask(target)

    assert got.status == HTTPStatus.NOT_FOUND
    assert "/readyz" in json.loads(got.body)["error"]


async def test_nothing_can_be_changed() -> None:
    got = await ask("/ping", method="DELETE")

    assert (got.status, got.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD")
