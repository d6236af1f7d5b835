"""Which activations are recorded: spec 8.5."""

from typing import Any

import pytest

from invoker.config import Compat
from invoker.config.sections import StoreLevel
from invoker.entities.activation import Activation, Status
from invoker.testing.builders import an_activation, an_outcome
from invoker.wire.record import is_recorded

LEVELS: list[tuple[StoreLevel, set[Status]]] = [
    ("always", set(Status)),
    ("failures", {Status.APPLICATION_ERROR, Status.DEVELOPER_ERROR, Status.WHISK_ERROR}),
    ("failures-not-application-errors", {Status.DEVELOPER_ERROR, Status.WHISK_ERROR}),
]


def recorded(activation: Activation, **changes: Any) -> bool:
    rule: dict[str, Any] = {
        "store_activations": True,
        "extra_logging": False,
        "blocking_level": "always",
        "non_blocking_level": "always",
        "compat": "openwhisk",
    }
    return is_recorded(activation, **(rule | changes))


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize(("level", "kept"), LEVELS)
@pytest.mark.parametrize("blocking", [True, False])
def test_each_level_keeps_what_it_says(status: Status, level: StoreLevel, kept: set[Status], *, blocking: bool) -> None:
    activation = an_activation(outcome=an_outcome(status=status), blocking=blocking)
    own, other = ("blocking_level", "non_blocking_level") if blocking else ("non_blocking_level", "blocking_level")

    # The other kind's level is the opposite: it has no say.
    assert recorded(activation, **{own: level, other: "always"}) is (status in kept)
    assert recorded(activation, **{own: level, other: "failures-not-application-errors"}) is (status in kept)


def test_extra_logging_keeps_what_the_level_would_not() -> None:
    assert not recorded(an_activation(), non_blocking_level="failures")
    assert recorded(an_activation(), non_blocking_level="failures", extra_logging=True)


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
@pytest.mark.parametrize("blocking", [True, False])
def test_a_namespace_that_wants_no_records_has_none(compat: Compat, *, blocking: bool) -> None:
    activation = an_activation(blocking=blocking, outcome=an_outcome(status=Status.WHISK_ERROR))

    assert not recorded(activation, store_activations=False, extra_logging=True, compat=compat)


@pytest.mark.parametrize("level", ["always", "failures"])
def test_the_go_variants_controller_stores_blocking_activations_itself(level: StoreLevel) -> None:
    rule: dict[str, Any] = {"compat": "functions", "blocking_level": level, "non_blocking_level": level}

    assert not recorded(an_activation(blocking=True), extra_logging=True, **rule)
    assert recorded(an_activation(blocking=False), **rule)
