"""Who waits: for memory in the order they came, or for a container of their own function until it takes too long."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from invoker.pool.fleet import Fleet, Waiter
from invoker.pool.slot import Slot


class Queue(OrderedDict[Waiter, None]):
    """Those who wait for memory, in the order they came. Owned by the pool.

    A dictionary itself, so that asking whether anybody waits, twice in each invocation, costs nothing.
    """

    def head(self) -> Waiter | None:
        """Return who is next: one that was just cancelled may not have left by itself yet."""
        while self:
            waiter = next(iter(self))
            if not waiter.granted.cancelled():
                return waiter
            self.leave(waiter)
        return None

    def join(self, waiter: Waiter) -> None:
        """Join at the end."""
        self[waiter] = None
        waiter.fleet.waiting[waiter] = None

    def grant(self, waiter: Waiter, slot: Slot, now: float) -> None:
        """Let a waiter go with what it gets."""
        waiter.fleet.granted_at = now
        self.leave(waiter)
        waiter.granted.set_result(slot)

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter, if it is still here."""
        self.pop(waiter, None)
        waiter.fleet.waiting.pop(waiter, None)


class Holding:
    """Those who wait for a container of their own function by choice. They hold nobody up. Owned by the pool.

    One timer for all of them: it may ring early, and is then set again.
    """

    def __init__(self, on_overdue: Callable[[Fleet, Sequence[Waiter]], None], clock: Callable[[], float]) -> None:
        """`on_overdue` has each of those that it is given leave, or wait longer."""
        self._on_overdue = on_overdue
        self._clock = clock
        self._fleets: dict[Fleet, None] = {}
        """Those of which somebody may hold."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0

    def join(self, waiter: Waiter) -> None:
        """Have a waiter hold until `waiter.overdue`."""
        waiter.fleet.waiting[waiter] = None
        self._fleets[waiter.fleet] = None
        if self._alarm is None or waiter.overdue < self._alarm_at:
            self._set(waiter.overdue)

    def limit(self, fleet: Fleet, overdue: float, *, afresh: bool) -> None:
        """Have those of a fleet who hold do so until `overdue` at most; `afresh` if not earlier either."""
        for waiter in fleet.waiting:
            if waiter.reason is None and (afresh or waiter.overdue > overdue):
                waiter.overdue = overdue
        if fleet in self._fleets and overdue < self._alarm_at:
            self._set(overdue)

    def close(self) -> None:
        """Stop the timer."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def look(self) -> None:
        """Hand over those whose time has come; look again when the next one's does."""
        self.close()
        now = self._clock()
        earliest = None
        for fleet in list(self._fleets):
            due = [waiter for waiter in fleet.waiting if waiter.reason is None and waiter.overdue <= now]
            if due:
                self._on_overdue(fleet, due)
            next_one = min((waiter.overdue for waiter in fleet.waiting if waiter.reason is None), default=None)
            if next_one is None:
                del self._fleets[fleet]
            elif earliest is None or next_one < earliest:
                earliest = next_one
        if earliest is not None and (self._alarm is None or earliest < self._alarm_at):
            self._set(earliest)

    def _set(self, when: float) -> None:
        self.close()
        self._alarm_at = when
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, when - self._clock()), self.look)
