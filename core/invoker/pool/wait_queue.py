"""Who waits for a container, and which action gets the next. Nothing here takes longer when more wait."""

import asyncio
import itertools
from collections.abc import Iterable
from heapq import heappop, heappush, heapreplace

from invoker.pool.actions import ActionContainers
from invoker.pool.container import Waiter


class WaitQueue:
    """Those who wait, each action's in the order in which they came, and the actions that want another container.

    Of these the one whose first activation came first is next. Owned by the scheduler.
    """

    def __init__(self) -> None:
        self.length = 0  # activations that wait, whatever their action
        self.wanting: list[tuple[int, ActionContainers]] = []
        """A heap of actions by the number of their first activation: put right when an entry has come to the top."""
        self._numbers = itertools.count(1)

    def join(self, action: ActionContainers, now: float, *, moved: bool) -> Waiter:
        """Have an activation wait behind all others of its action."""
        waiter = Waiter(next(self._numbers), now, moved, asyncio.get_running_loop().create_future())
        action.waiting[waiter] = None
        if moved:
            action.moved[waiter] = None
        self.length += 1
        return waiter

    def return_to_front(self, action: ActionContainers, waiters: Iterable[Waiter]) -> None:
        """Have those wait before all others of their action, in this order, whose container could not be created."""
        first = self.first(action)
        for waiter in reversed(list(waiters)):
            if first is not None:  # numbers rise from the first to the last
                waiter.number = min(waiter.number, first.number)
            waiter.reason = waiter.joined = None
            if waiter.granted.done():
                waiter.granted = asyncio.get_running_loop().create_future()
            for order in (action.waiting, action.moved) if waiter.moved else (action.waiting,):
                order[waiter] = None
                order.move_to_end(waiter, last=False)
            self.length += 1
            first = waiter

    def leave(self, action: ActionContainers, waiter: Waiter) -> None:
        """Forget a waiter, if it still waits."""
        if waiter in action.waiting:
            del action.waiting[waiter]
            self.length -= 1
            if waiter.moved:
                del action.moved[waiter]

    def first(self, action: ActionContainers, *, moved: bool = False, reverse: bool = False) -> Waiter | None:
        """Return who of an action came first, or last if in `reverse`; of those who `moved`, or of all."""
        waiters = action.moved if moved else action.waiting
        while waiters:
            waiter = next(reversed(waiters) if reverse else iter(waiters))
            if not waiter.granted.cancelled():
                return waiter
            self.leave(action, waiter)  # it was cancelled just now, and did not have its turn since
        return None

    def want(self, action: ActionContainers, now: float) -> None:
        """Note that an action wants another container, for which its first activation waits."""
        first = self.first(action)
        if first is None:
            return
        if action.wanted_since is None:
            action.wanted_since = now
        elif first.number >= action.queued_as:
            return
        action.queued_as = first.number
        heappush(self.wanting, (first.number, action))

    def head(self) -> ActionContainers | None:
        """Return the action that is to get the next container."""
        while self.wanting:
            number, action = self.wanting[0]
            if action.wanted_since is None or number != action.queued_as:  # wanted since by another entry, or no more
                heappop(self.wanting)
            elif (first := self.first(action)) is None:
                self.drop(action)
            elif first.number != number:
                action.queued_as = first.number
                heapreplace(self.wanting, (first.number, action))
            else:
                return action
        return None

    def drop(self, action: ActionContainers) -> None:
        """Note that an action wants no other container any more."""
        action.wanted_since = None
