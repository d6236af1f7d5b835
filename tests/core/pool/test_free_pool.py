"""Idle containers: the newest is reused, the oldest is given up."""

from invoker.pool.fleet import Fleet
from invoker.pool.shelf import Shelf
from invoker.pool.slot import Slot, WarmKey

from invoker.config import RolesSettings
from invoker.testing.builders import a_spec
from invoker_attached_logs.follower import AttachedLogs

MB = 1 << 20


def a_fleet(name: str = "hello") -> Fleet:
    return Fleet(WarmKey(name.encode(), "guest", None), 256 * MB, "guest", f"guest/{name}")


def a_slot(fleet: Fleet, memory: int = 256 * MB) -> Slot:
    spec = a_spec(memory=memory)
    slot = Slot(spec, AttachedLogs(RolesSettings().compat).follow(spec), 0.0, lambda _: None)
    slot.fleet = fleet
    return slot


def test_the_newest_of_a_function_is_free_first() -> None:
    shelf, fleet = Shelf(), a_fleet()
    older, newer = a_slot(fleet), a_slot(fleet)
    shelf.put(older)
    shelf.put(newer)

    first = fleet.free()
    shelf.discard(newer)
    second = fleet.free()
    shelf.discard(older)

    assert [first, second, fleet.free()] == [newer, older, None]


def test_the_oldest_of_all_is_given_up_first() -> None:
    shelf, hello, other = Shelf(), a_fleet(), a_fleet("other")
    slots = [a_slot(hello), a_slot(other), a_slot(hello)]
    for slot in slots:
        shelf.put(slot)

    assert [shelf.take_oldest() for _ in range(4)] == [*slots, None]
    assert (hello.free(), other.free()) == (None, None)


def test_functions_do_not_mix() -> None:
    shelf, hello, other = Shelf(), a_fleet(), a_fleet("other")
    shelf.put(a_slot(other))

    assert hello.free() is None


def test_memory_is_the_sum_of_what_is_there() -> None:
    shelf, fleet = Shelf(), a_fleet()
    small, large = a_slot(fleet, 128 * MB), a_slot(fleet, 512 * MB)
    shelf.put(small)
    shelf.put(large)

    shelf.discard(small)
    shelf.discard(small)

    assert (shelf.memory, len(shelf), list(shelf)) == (512 * MB, 1, [large])


def test_one_in_the_middle_can_be_discarded() -> None:
    shelf, fleet = Shelf(), a_fleet()
    slots = [a_slot(fleet) for _ in range(3)]
    for slot in slots:
        shelf.put(slot)

    shelf.discard(slots[1])

    assert (list(shelf), fleet.idle) == ([slots[0], slots[2]], [slots[0], slots[2]])


def test_a_share_of_what_is_in_use_comes_before_what_is_idle_and_that_before_what_is_starting() -> None:
    shelf, fleet = Shelf(), a_fleet()
    starting, ready, idle = a_slot(fleet), a_slot(fleet), a_slot(fleet)
    ready.initialised = idle.initialised = True
    fleet.spare[starting] = fleet.spare[ready] = None
    shelf.put(idle)

    seen = [fleet.free()]
    del fleet.spare[ready]
    seen.append(fleet.free())
    shelf.discard(idle)
    seen.append(fleet.free())
    del fleet.spare[starting]
    seen.append(fleet.free())

    assert seen == [ready, idle, starting, None]
