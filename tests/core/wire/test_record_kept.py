"""Which activations are recorded: spec 8.5."""

from typing import Any

import pytest

from invoker.config import Compat, RecordingSettings
from invoker.config.sections import StoreLevel
from invoker.entities.activation import Activation, Status
from invoker.entities.request import CallerLimits
from invoker.testing.builders import a_caller, a_request, a_transaction, an_activation, an_outcome
from invoker.wire.record import is_recorded

LEVELS: list[tuple[StoreLevel, set[Status]]] = [
    ("always", set(Status)),
    ("failures", {Status.APPLICATION_ERROR, Status.DEVELOPER_ERROR, Status.WHISK_ERROR}),
    ("failures-not-application-errors", {Status.DEVELOPER_ERROR, Status.WHISK_ERROR}),
]


def recorded(
    activation: Activation,
    *,
    store_activations: bool = True,
    extra_logging: bool = False,
    compat: Compat = "openwhisk",
    **levels: StoreLevel,
) -> bool:
    caller = a_caller(limits=CallerLimits(store_activations=store_activations))
    request = a_request(caller=caller, transaction=a_transaction(extra_logging=extra_logging))
    return is_recorded(activation, request, RecordingSettings(**levels), compat)


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize(("level", "kept"), LEVELS)
@pytest.mark.parametrize("blocking", [True, False])
def test_each_level_keeps_what_it_says(status: Status, level: StoreLevel, kept: set[Status], *, blocking: bool) -> None:
    activation = an_activation(outcome=an_outcome(status=status), blocking=blocking)
    own, other = ("store_blocking", "store_non_blocking") if blocking else ("store_non_blocking", "store_blocking")

    # The other kind's level is the opposite: it has no say.
    assert recorded(activation, **{own: level, other: "always"}) is (status in kept)
    assert recorded(activation, **{own: level, other: "failures-not-application-errors"}) is (status in kept)


def test_extra_logging_keeps_what_the_level_would_not() -> None:
    assert not recorded(an_activation(), store_non_blocking="failures")
    assert recorded(an_activation(), store_non_blocking="failures", extra_logging=True)


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
@pytest.mark.parametrize("blocking", [True, False])
def test_a_namespace_that_wants_no_records_has_none(compat: Compat, *, blocking: bool) -> None:
    activation = an_activation(blocking=blocking, outcome=an_outcome(status=Status.WHISK_ERROR))

    assert not recorded(activation, store_activations=False, extra_logging=True, compat=compat)


@pytest.mark.parametrize("level", ["always", "failures"])
def test_the_go_variants_controller_stores_blocking_activations_itself(level: StoreLevel) -> None:
    rule: dict[str, Any] = {"compat": "functions", "store_blocking": level, "store_non_blocking": level}

    assert not recorded(an_activation(blocking=True), extra_logging=True, **rule)
    assert recorded(an_activation(blocking=False), **rule)
