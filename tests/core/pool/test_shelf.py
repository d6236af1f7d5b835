"""Idle containers: the newest is reused, the oldest is given up."""

from invoker.config import RolesSettings
from invoker.pool.shelf import Shelf
from invoker.pool.slot import Slot, WarmKey
from invoker.testing.builders import a_spec
from invoker_attached_logs.follower import AttachedLogs

HELLO = WarmKey(b"hello", "guest", None)
OTHER = WarmKey(b"other", "guest", None)
MB = 1 << 20


def a_slot(key: WarmKey = HELLO, memory: int = 256 * MB) -> Slot:
    follower = AttachedLogs(RolesSettings().compat).follow(a_spec())
    return Slot(key, memory, follower, lambda _: None)


def test_the_newest_of_a_function_is_taken_first() -> None:
    shelf = Shelf()
    older, newer = a_slot(), a_slot()
    shelf.put(older)
    shelf.put(newer)

    assert [shelf.take(HELLO), shelf.take(HELLO), shelf.take(HELLO)] == [newer, older, None]


def test_the_oldest_of_all_is_given_up_first() -> None:
    shelf = Shelf()
    slots = [a_slot(HELLO), a_slot(OTHER), a_slot(HELLO)]
    for slot in slots:
        shelf.put(slot)

    assert [shelf.take_oldest() for _ in range(4)] == [*slots, None]


def test_functions_do_not_mix() -> None:
    shelf = Shelf()
    shelf.put(a_slot(OTHER))

    assert shelf.take(HELLO) is None


def test_it_knows_what_it_holds() -> None:
    shelf = Shelf()
    small, large = a_slot(memory=128 * MB), a_slot(OTHER, memory=512 * MB)
    shelf.put(small)
    shelf.put(large)
    held = (len(shelf), shelf.memory)
    shelf.take(OTHER)

    assert held == (2, 640 * MB)
    assert (len(shelf), shelf.memory, shelf.oldest()) == (1, 128 * MB, small)


def test_a_slot_from_the_middle_can_be_discarded_once() -> None:
    shelf = Shelf()
    slots = [a_slot() for _ in range(3)]
    for slot in slots:
        shelf.put(slot)

    shelf.discard(slots[1])
    shelf.discard(slots[1])

    assert (len(shelf), shelf.memory) == (2, 512 * MB)
    assert [shelf.take(HELLO), shelf.take(HELLO), shelf.take(HELLO)] == [slots[2], slots[0], None]
