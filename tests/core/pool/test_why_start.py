"""Start another container, or wait: the arithmetic, and what an action's containers make of it."""

import pytest

from invoker.pool import StartReason
from invoker.pool.actions import (
    SERVICE_TIME,
    START_TIME,
    UNSEEN,
    WORTH,
    ActionContainers,
    averaged,
    expected_wait,
)
from tests.core.pool.workshop import a_container, an_action

NOW = 1000.0


def known(
    *,
    ready: int = 0,
    starting: tuple[float, ...] = (),
    shares: int = 1,
    service_time: float | None = None,
    start_time: float | None = None,
) -> ActionContainers:
    """Return an action with `ready` containers in use, and some whose start began at the times of `starting`."""
    action = an_action(concurrency=shares)
    action.service_time, action.start_time = service_time, start_time
    for began in (None,) * ready + starting:
        container = a_container(action)
        action.containers.add(container)
        if began is None:
            action.ready += shares
        else:
            action.coming += shares
            action.starting[container] = began
    return action


# --- the arithmetic -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("average", "observed", "expected"),
    [
        (None, 0.5, 0.5),
        (0.5, 0.5, 0.5),
        (0.8, 0.0001, 0.8 - (0.8 - 0.0001) / 8),
        (None, 0.0, SERVICE_TIME[0]),
        (None, -1.0, SERVICE_TIME[0]),
        (None, 1e9, SERVICE_TIME[1]),
        (60.0, 1e9, 60.0),
    ],
)
def test_an_average_moves_by_an_eighth_and_stays_within_its_bounds(
    average: float | None, observed: float, expected: float
) -> None:
    assert averaged(average, observed, SERVICE_TIME) == pytest.approx(expected)


def test_an_average_follows_a_change_within_some_observations() -> None:
    average = None
    for observed in [0.001] * 20 + [2.0] * 8:
        average = averaged(average, observed, SERVICE_TIME)

    assert average is not None
    assert average > 1.0


def test_one_start_that_hung_counts_as_thirty_seconds() -> None:
    assert averaged(0.1, 3600.0, START_TIME) == pytest.approx(0.1 + (30 - 0.1) / 8)


@pytest.mark.parametrize(
    ("ahead", "ready", "coming", "left", "expected"),
    [
        (0, 1, 0, 0.0, 2.0),  # the one container is free when who has it is done
        (0, 4, 0, 0.0, 0.5),  # four come free one after the other
        (7, 4, 0, 0.0, 4.0),
        (0, 4, 4, 1.0, 0.5),  # one is free before those that are coming
        (7, 4, 4, 1.0, 2.5),  # (2 s · 8 + 4 · 1 s) / 8: those that are coming share the work when they are there
        (0, 0, 1, 0.5, 2.5),  # who started it has it first
        (0, 0, 8, 0.5, 0.75),
        (0, 0, 80, 0.5, 0.525),
        (0, 1, 1, 9.0, 2.0),
        (0, 0, 0, 0.0, float("inf")),  # nothing will ever come free
    ],
)
def test_the_expected_wait(ahead: int, ready: int, coming: int, left: float, expected: float) -> None:
    assert expected_wait(service_time=2.0, ahead=ahead, ready=ready, coming=coming, left=left) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("ready", [0, 1, 3])
@pytest.mark.parametrize("coming", [0, 1, 5])
def test_nobody_waits_less_than_those_before(ready: int, coming: int) -> None:
    waits = [expected_wait(service_time=0.05, ahead=ahead, ready=ready, coming=coming, left=0.1) for ahead in range(40)]

    assert waits == sorted(waits)


# --- why an action starts another one ----------------------------------------------------------------------------


@pytest.mark.parametrize("typical", [None, 0.1])
def test_an_action_that_was_never_seen_starts_one_that_the_others_wait_for(typical: float | None) -> None:
    first = known().why_start(NOW, typical, 0, always=False)

    others = [action.why_start(NOW, typical, 99, always=False) for action in (known(starting=(NOW,)), known(ready=1))]

    assert (first, others) == (StartReason.NEW, [None, None])


@pytest.mark.parametrize("gone", [StartReason.EVICTED, StartReason.EXPIRED, StartReason.DIED])
def test_an_action_without_containers_starts_one_for_the_reason_it_has_none(gone: StartReason) -> None:
    action = known(service_time=0.001, start_time=0.1)
    action.gone = gone

    assert action.why_start(NOW, 0.1, 0, always=False) is gone


def test_where_nobody_knows_what_a_start_takes_it_is_taken_to_be_a_second() -> None:
    """No container of this invoker was ever started: all are prewarmed."""
    services = (UNSEEN, WORTH * UNSEEN + 0.001)

    reasons = [known(ready=1, service_time=service).why_start(NOW, None, 0, always=False) for service in services]

    assert reasons == [None, StartReason.BUSY]


def test_an_action_that_never_had_a_start_of_its_own_takes_what_starts_take_here() -> None:
    """It was given prewarmed containers."""
    action = known(ready=1, service_time=0.05)

    reasons = [action.why_start(NOW, typical, 0, always=False) for typical in (0.1, 0.01)]

    assert reasons == [None, StartReason.BUSY]


@pytest.mark.parametrize(
    ("service", "start", "ready", "ahead", "waits"),
    [
        (0.001, 0.1, 4, 60, True),  # a burst of instant ones
        (0.001, 0.1, 1, 124, True),
        (0.001, 0.1, 1, 126, False),
        (2.0, 0.1, 4, 0, False),  # two seconds are long
        (2.0, 5.0, 4, 2, True),  # but not beside a start of five
        (0.1, 0.1, 1, 0, True),
        (WORTH * 0.1, 0.1, 1, 0, True),  # a start must save more than it costs
        (0.13, 0.1, 1, 0, False),
        (60.0, 0.01, 1000, 0, False),
        (0.0001, 30.0, 1, 100_000, True),
    ],
)
def test_who_waits_and_who_starts(service: float, start: float, ready: int, ahead: int, *, waits: bool) -> None:
    reason = known(ready=ready, service_time=service, start_time=start).why_start(NOW, None, ahead, always=False)

    assert reason is (None if waits else StartReason.BUSY)


def test_a_start_that_is_under_way_is_waited_for() -> None:
    """No container is there, one is coming: a second instant activation needs no other."""
    began = NOW - 0.06
    instant = known(starting=(began,), service_time=0.001, start_time=0.1)
    slow = known(starting=(began,), service_time=2.0, start_time=0.1)

    reasons = [action.why_start(NOW, None, 0, always=False) for action in (instant, slow)]

    assert reasons == [None, StartReason.BUSY]


def test_a_start_that_takes_longer_than_usual_is_not_counted_in_the_past() -> None:
    action = known(starting=(NOW - 3600,), service_time=0.001, start_time=0.1)

    assert action.why_start(NOW, None, 10, always=False) is None


def test_those_who_have_a_start_under_way_are_ahead_of_nobody_who_waits_for_another_container() -> None:
    """Each has its own; the one that is ready is free in 0.1 s."""
    action = known(ready=1, starting=(NOW,) * 4, service_time=0.1, start_time=0.1)

    assert action.why_start(NOW, None, 0, always=False) is None


def test_the_shares_of_a_container_that_is_starting_count() -> None:
    began = NOW - 0.1
    reasons = [
        known(starting=(began,), shares=shares, service_time=0.1, start_time=0.1).why_start(NOW, None, 2, always=False)
        for shares in (1, 3)
    ]

    assert reasons == [StartReason.BUSY, None]


def test_always_means_always() -> None:
    assert known(ready=9, service_time=0.001, start_time=0.1).why_start(NOW, None, 0, always=True) is StartReason.ALWAYS
    assert known().why_start(NOW, None, 0, always=True) is StartReason.NEW


def test_the_patience_of_who_waits_is_what_a_start_is_worth() -> None:
    assert known(start_time=0.4).patience(9.0) == pytest.approx(WORTH * 0.4)
    assert known().patience(0.2) == pytest.approx(WORTH * 0.2)
    assert known().patience(None) == pytest.approx(WORTH * UNSEEN)


def test_who_waits_counts_the_replacement_of_a_container_that_an_activation_costs() -> None:
    actions = [known(ready=4, service_time=0.001, start_time=0.1) for _ in range(2)]
    actions[1].lost(1.0)
    actions[1].lost(1.0)

    reasons = [action.why_start(NOW, None, 20, always=False) for action in actions]

    assert reasons == [None, StartReason.BUSY]
    assert actions[1].loss == pytest.approx(1 - (7 / 8) ** 2)


def test_an_action_of_which_nothing_survived_costs_a_container_each_until_something_does() -> None:
    action = known()

    action.lost(1.0)
    before = action.loss
    action.lost(0.0)

    assert [before, action.loss] == pytest.approx([1.0, 7 / 8])
