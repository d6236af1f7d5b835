"""What the pool remembers of functions that have no container."""

from invoker.pool.fleet import Fleet
from invoker.pool.fleets import REMEMBERED, Fleets
from invoker.pool.slot import Slot, WarmKey

from invoker.testing.builders import a_spec
from invoker_attached_logs.follower import AttachedLogs


def key(number: int) -> WarmKey:
    return WarmKey(str(number).encode(), "guest", None)


def a_fleet(fleets: Fleets, number: int) -> Fleet:
    return fleets.of(key(number), 256 << 20, f"guest/f{number}")


def a_container(fleet: Fleet) -> Slot:
    spec = a_spec()
    slot = Slot(spec, AttachedLogs("openwhisk").follow(spec), 0.0, lambda _: None)
    slot.fleet = fleet
    fleet.slots.add(slot)
    return slot


def forget_the_oldest(fleets: Fleets) -> None:
    """Have as many functions lose their container as are remembered."""
    for number in range(1000, 1000 + REMEMBERED):
        fleets.settle(a_fleet(fleets, number))


def test_a_function_is_remembered_without_containers() -> None:
    fleets = Fleets()
    fleet = a_fleet(fleets, 1)
    fleets.settle(fleet)

    assert fleets.get(key(1)) is fleet
    assert a_fleet(fleets, 1) is fleet


def test_the_one_that_has_been_without_for_longest_is_forgotten_when_there_are_too_many() -> None:
    fleets = Fleets()
    for number in (1, 2, 1):
        fleets.settle(a_fleet(fleets, number))
    for number in range(1000, 1000 + REMEMBERED - 1):
        fleets.settle(a_fleet(fleets, number))

    assert (fleets.get(key(1)) is None, fleets.get(key(2)) is None) == (False, True)
    assert len(list(fleets)) == REMEMBERED


def test_one_with_a_container_is_never_forgotten() -> None:
    fleets = Fleets()
    fleets.settle(a_fleet(fleets, 1))
    fleet = a_fleet(fleets, 1)
    a_container(fleet)
    fleets.settle(fleet)
    forget_the_oldest(fleets)

    assert fleets.get(key(1)) is fleet


def test_one_that_was_forgotten_while_its_last_container_was_in_use_takes_nobodys_place() -> None:
    fleets = Fleets()
    old = a_fleet(fleets, 1)
    fleets.settle(old)  # its container takes nobody else
    forget_the_oldest(fleets)
    new = a_fleet(fleets, 1)
    a_container(new)

    fleets.settle(old)  # and is gone
    forget_the_oldest(fleets)

    assert old is not new
    assert fleets.get(key(1)) is new
