"""Which action gets the next container: the one whose first activation came first, whatever became of it since."""

from invoker.pool.actions import ActionContainers
from invoker.pool.container import Waiter
from invoker.pool.wait_queue import WaitQueue
from tests.core.pool.workshop import an_action


def joined(queue: WaitQueue, *actions: ActionContainers) -> list[Waiter]:
    """Have one activation after the other wait, whose actions want another container."""
    waiters = []
    for action in actions:
        waiters.append(queue.join(action, 0.0, moved=False))
        queue.want(action, 0.0)
    return waiters


async def test_the_action_whose_first_came_first_is_next() -> None:
    queue, ours, theirs = WaitQueue(), an_action("ours"), an_action("theirs")
    first, _, _ = joined(queue, ours, theirs, ours)
    before = queue.head()

    queue.leave(ours, first)

    assert (before, queue.head(), queue.length) == (ours, theirs, 2)


async def test_one_that_wants_no_other_any_more_makes_way() -> None:
    queue, ours, theirs = WaitQueue(), an_action("ours"), an_action("theirs")
    joined(queue, ours, theirs)

    queue.drop(ours)

    assert (queue.head(), ours.wanted_since, theirs.wanted_since) == (theirs, None, 0.0)


async def test_who_returns_is_before_all_who_came_later_whatever_their_action() -> None:
    queue, ours, theirs = WaitQueue(), an_action("ours"), an_action("theirs")
    first, _, third = joined(queue, ours, theirs, ours)
    queue.leave(ours, first)
    queue.head()

    queue.return_to_front(ours, [first])
    queue.want(ours, 0.0)

    assert queue.head() is ours
    assert list(ours.waiting) == [first, third]


async def test_who_came_late_and_returns_is_before_its_own_action_and_takes_its_place() -> None:
    queue, ours, theirs = WaitQueue(), an_action("ours"), an_action("theirs")
    first, _, last, joiner = joined(queue, ours, theirs, ours, ours)
    for waiter in (last, joiner):
        queue.leave(ours, waiter)

    queue.return_to_front(ours, [last, joiner])
    queue.leave(ours, last)

    assert list(ours.waiting) == [joiner, first]
    assert queue.head() is ours


async def test_entries_that_are_out_of_date_go() -> None:
    queue, ours = WaitQueue(), an_action()
    first, second, third = joined(queue, ours, ours, ours)
    for _ in range(3):
        queue.leave(ours, first)
        queue.head()
        queue.return_to_front(ours, [first])
        queue.want(ours, 0.0)
    for waiter in (first, second):
        queue.leave(ours, waiter)
        queue.head()

    assert queue.wanting == [(third.number, ours)]


async def test_one_who_is_cancelled_is_passed_at_both_ends() -> None:
    queue, action = WaitQueue(), an_action()
    waiters = [queue.join(action, 0.0, moved=number == 1) for number in range(4)]
    for number in (0, 1, 3):
        waiters[number].granted.cancel()

    assert queue.first(action, moved=True) is None
    assert queue.first(action, reverse=True) is waiters[2]
    assert queue.first(action) is waiters[2]
    assert queue.length == 1
