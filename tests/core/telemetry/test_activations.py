"""What is counted and logged of an activation that has ended."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from invoker.contracts import Admitted
from invoker.entities.activation import Activation
from invoker.telemetry import ActivationTelemetry, Finished, Metrics
from invoker.telemetry.activations import as_json, as_text
from invoker.testing.builders import a_request, a_transaction, an_activation

WARM = {"container": "one", "start": "warm"}
PREWARMED = {"container": "one", "start": "prewarm", "cold_start": "busy"}
COLD = {"container": "one", "start": "cold", "cold_start": "new"}


def finished(activation: Activation | None = None, **facts: Any) -> Finished:
    admitted = Admitted(a_request(transaction=a_transaction(id="tid")), 1, "http", {})
    return Finished(activation=activation or an_activation(), admitted=admitted, **facts)


def starts(*ends: Finished) -> dict[str, float]:
    """Return how many of these activations are counted as having started in which way."""
    metrics = Metrics()
    telemetry = ActivationTelemetry(metrics, writer=None)
    for end in ends:
        telemetry.finished(end)
    name = "counter_invoker_containerStart_counter_total{"
    lines = [line for line in metrics.exposed().decode().splitlines() if line.startswith(name)]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def test_starts_are_counted_by_how_the_container_was_come_by() -> None:
    counted = starts(finished(**COLD), finished(**WARM), finished(**WARM), finished(**PREWARMED))

    assert counted == {"cold": 1, "prewarm": 1, "warm": 2}


def test_without_a_container_nothing_started() -> None:
    assert starts(finished()) == {"cold": 0, "prewarm": 0, "warm": 0}


@pytest.mark.parametrize(
    ("facts", "told"), [(WARM, "warm"), (PREWARMED, "prewarm"), (COLD, "cold"), ({}, None)], ids=str
)
def test_the_log_line_tells_how_the_container_was_come_by(facts: dict[str, Any], told: str | None) -> None:
    line = msgspec.json.decode(as_json(finished(**facts)))

    assert line.get("containerType") == told


def test_the_log_line_tells_why_it_started_cold() -> None:
    line = msgspec.json.decode(as_json(finished(**COLD)))

    assert line["coldStart"] == "new"


def test_the_log_line_of_a_warm_start_has_no_reason() -> None:
    line = msgspec.json.decode(as_json(finished(**WARM)))

    assert "coldStart" not in line


@pytest.mark.parametrize(
    ("facts", "told"),
    [(COLD, b" ms cold (new) "), (PREWARMED, b" ms prewarm (busy) "), (WARM, b" ms warm ")],
    ids=["cold", "prewarmed", "warm"],
)
def test_people_are_told_the_same(facts: dict[str, Any], told: bytes) -> None:
    assert told in as_text(finished(**facts))


@pytest.mark.parametrize("encode", [as_json, as_text])
def test_a_line_is_one_line(encode: Callable[[Finished], bytes]) -> None:
    line = encode(finished(**COLD))

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
