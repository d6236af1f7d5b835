"""Start another container, or wait: the arithmetic, and what a function's containers make of it."""

import pytest
from invoker.pool.fleet import Fleet
from invoker.pool.scaling import HOLD, START, UNSEEN, WORTH, averaged, expected_wait, worth_starting
from invoker.pool.slot import Slot, WarmKey

from invoker.pool import StartReason
from invoker.testing.builders import a_spec
from invoker_attached_logs.follower import AttachedLogs

NOW = 1000.0


def a_fleet(
    *,
    ready: int = 0,
    starting: tuple[float, ...] = (),
    shares: int = 1,
    hold: float | None = None,
    start: float | None = None,
) -> Fleet:
    """Return a function with `ready` containers in use, and some whose start began at the times of `starting`."""
    fleet = Fleet(WarmKey(b"hello", "guest", None), 256 << 20, "guest", "guest/hello")
    fleet.hold, fleet.start = hold, start
    for began in (None,) * ready + starting:
        spec = a_spec()
        slot = Slot(spec, AttachedLogs("openwhisk").follow(spec), NOW, lambda _: None)
        slot.fleet, slot.shares = fleet, shares
        fleet.slots.add(slot)
        if began is None:
            fleet.ready += shares
        else:
            fleet.starting[slot] = began
    return fleet


# --- the arithmetic -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("average", "observed", "expected"),
    [
        (None, 0.5, 0.5),
        (0.5, 0.5, 0.5),
        (0.8, 0.0001, 0.8 - (0.8 - 0.0001) / 8),
        (None, 0.0, HOLD.least),
        (None, -1.0, HOLD.least),
        (None, 1e9, HOLD.most),
        (60.0, 1e9, 60.0),
    ],
)
def test_an_average_moves_by_an_eighth_and_stays_within_its_bounds(
    average: float | None, observed: float, expected: float
) -> None:
    assert averaged(average, observed, HOLD) == pytest.approx(expected)


def test_an_average_follows_a_change_within_some_observations() -> None:
    average = None
    for observed in [0.001] * 20 + [2.0] * 8:
        average = averaged(average, observed, HOLD)

    assert average is not None
    assert average > 1.0


def test_one_start_that_hung_counts_as_thirty_seconds() -> None:
    assert averaged(0.1, 3600.0, START) == pytest.approx(0.1 + (30 - 0.1) / 8)


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
    assert expected_wait(hold=2.0, ahead=ahead, ready=ready, coming=coming, left=left) == pytest.approx(expected)


@pytest.mark.parametrize("ready", [0, 1, 3])
@pytest.mark.parametrize("coming", [0, 1, 5])
def test_nobody_waits_less_than_those_before(ready: int, coming: int) -> None:
    waits = [expected_wait(hold=0.05, ahead=ahead, ready=ready, coming=coming, left=0.1) for ahead in range(40)]

    assert waits == sorted(waits)


def test_a_start_must_save_more_than_it_costs() -> None:
    assert not worth_starting(wait=0.1 * WORTH, start=0.1)
    assert worth_starting(wait=0.1 * WORTH + 0.001, start=0.1)


# --- why a function starts another one ----------------------------------------------------------------------------


@pytest.mark.parametrize("typical", [None, 0.1])
def test_a_function_that_was_never_seen_starts_one_that_the_others_wait_for(typical: float | None) -> None:
    first = a_fleet().why_start(NOW, typical, 0, always=False)

    others = [fleet.why_start(NOW, typical, 99, always=False) for fleet in (a_fleet(starting=(NOW,)), a_fleet(ready=1))]

    assert (first, others) == (StartReason.NEW, [None, None])


@pytest.mark.parametrize("gone", [StartReason.EVICTED, StartReason.EXPIRED, StartReason.DIED])
def test_a_function_without_containers_starts_one_for_the_reason_it_has_none(gone: StartReason) -> None:
    fleet = a_fleet(hold=0.001, start=0.1)
    fleet.gone = gone

    assert fleet.why_start(NOW, 0.1, 0, always=False) is gone


def test_where_nobody_knows_what_a_start_takes_it_is_taken_to_be_a_second() -> None:
    """No container of this invoker was ever started: all are stem cells."""
    holds = (UNSEEN, WORTH * UNSEEN + 0.001)

    reasons = [a_fleet(ready=1, hold=hold).why_start(NOW, None, 0, always=False) for hold in holds]

    assert reasons == [None, StartReason.BUSY]


def test_a_function_that_never_had_a_start_of_its_own_takes_what_starts_take_here() -> None:
    """It was given stem cells."""
    fleet = a_fleet(ready=1, hold=0.05)

    reasons = [fleet.why_start(NOW, typical, 0, always=False) for typical in (0.1, 0.01)]

    assert reasons == [None, StartReason.BUSY]


@pytest.mark.parametrize(
    ("hold", "start", "ready", "ahead", "waits"),
    [
        (0.001, 0.1, 4, 60, True),  # a burst of instant ones
        (0.001, 0.1, 1, 124, True),
        (0.001, 0.1, 1, 126, False),
        (2.0, 0.1, 4, 0, False),  # two seconds are long
        (2.0, 5.0, 4, 2, True),  # but not beside a start of five
        (0.1, 0.1, 1, 0, True),
        (0.13, 0.1, 1, 0, False),
        (60.0, 0.01, 1000, 0, False),
        (0.0001, 30.0, 1, 100_000, True),
    ],
)
def test_who_waits_and_who_starts(hold: float, start: float, ready: int, ahead: int, *, waits: bool) -> None:
    reason = a_fleet(ready=ready, hold=hold, start=start).why_start(NOW, None, ahead, always=False)

    assert reason is (None if waits else StartReason.BUSY)


def test_a_start_that_is_under_way_is_waited_for() -> None:
    """No container is there, one is coming: a second instant activation needs no other."""
    began = NOW - 0.06
    instant = a_fleet(starting=(began,), hold=0.001, start=0.1)
    slow = a_fleet(starting=(began,), hold=2.0, start=0.1)

    reasons = [fleet.why_start(NOW, None, 0, always=False) for fleet in (instant, slow)]

    assert reasons == [None, StartReason.BUSY]


def test_a_start_that_takes_longer_than_usual_is_not_counted_in_the_past() -> None:
    fleet = a_fleet(starting=(NOW - 3600,), hold=0.001, start=0.1)

    assert fleet.why_start(NOW, None, 10, always=False) is None


def test_those_who_have_a_start_under_way_are_ahead_of_nobody_who_waits_for_another_container() -> None:
    """Each has its own; the one that is ready is free in 0.1 s."""
    fleet = a_fleet(ready=1, starting=(NOW,) * 4, hold=0.1, start=0.1)

    assert fleet.why_start(NOW, None, 0, always=False) is None


def test_the_shares_of_a_container_that_is_starting_count() -> None:
    began = NOW - 0.1
    reasons = [
        a_fleet(starting=(began,), shares=shares, hold=0.1, start=0.1).why_start(NOW, None, 2, always=False)
        for shares in (1, 3)
    ]

    assert reasons == [StartReason.BUSY, None]


def test_always_means_always() -> None:
    assert a_fleet(ready=9, hold=0.001, start=0.1).why_start(NOW, None, 0, always=True) is StartReason.ALWAYS
    assert a_fleet().why_start(NOW, None, 0, always=True) is StartReason.NEW


def test_the_patience_of_who_waits_is_what_a_start_is_worth() -> None:
    assert a_fleet(start=0.4).patience(9.0) == pytest.approx(WORTH * 0.4)
    assert a_fleet().patience(0.2) == pytest.approx(WORTH * 0.2)
    assert a_fleet().patience(None) == pytest.approx(WORTH * UNSEEN)


def test_who_waits_counts_the_replacement_of_a_container_that_an_activation_costs() -> None:
    fleets = [a_fleet(ready=4, hold=0.001, start=0.1) for _ in range(2)]
    fleets[1].lost(1.0)
    fleets[1].lost(1.0)

    reasons = [fleet.why_start(NOW, None, 20, always=False) for fleet in fleets]

    assert reasons == [None, StartReason.BUSY]
    assert fleets[1].loss == pytest.approx(1 - (7 / 8) ** 2)


def test_a_function_of_which_nothing_survived_costs_a_container_each_until_something_does() -> None:
    fleet = a_fleet()

    fleet.lost(1.0)
    before = fleet.loss
    fleet.lost(0.0)

    assert [before, fleet.loss] == pytest.approx([1.0, 7 / 8])
