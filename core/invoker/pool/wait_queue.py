"""Who waits for a container, and which action gets the next. Nothing here takes longer when more wait."""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterable
from heapq import heappop, heappush, heapreplace

from invoker.pool.actions import ActionContainers
from invoker.pool.container import Waiter


class WaitQueue:
    """Those who wait, each action's in the order in which they came, and the actions that want another container.

    Of these the one whose first activation came first is next. Owned by the scheduler.
    """

    def __init__(self) -> None:
        self.length = 0
        """Activations that wait, whatever their action."""
        self.wanting: list[tuple[int, ActionContainers]] = []
        """A heap of the actions that want another container, by the number of each one's first activation.

        Activations leave without anybody's looking here: an entry is put right when it has come to the top.
        """
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

    def first(self, action: ActionContainers) -> Waiter | None:
        """Return who of an action came first."""
        return self._end_of(action, action.waiting, last=False)

    def first_moved(self, action: ActionContainers) -> Waiter | None:
        """Return who came first of those that another container did not take."""
        return self._end_of(action, action.moved, last=False)

    def last(self, action: ActionContainers) -> Waiter | None:
        """Return who of an action came last."""
        return self._end_of(action, action.waiting, last=True)

    def _end_of(self, action: ActionContainers, waiters: OrderedDict[Waiter, None], *, last: bool) -> Waiter | None:
        while waiters:
            waiter = next(reversed(waiters) if last else iter(waiters))
            if not waiter.granted.cancelled():
                return waiter
            self.leave(action, waiter)  # it was cancelled just now, and did not have its turn since
        return None

    # --- those that want another container --------------------------------------------------------------------

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
