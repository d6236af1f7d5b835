"""Who waits for a container, and whose turn it is (core/decisions/0006)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from invoker.config import PoolSettings
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.pool.containers import Containers
from invoker.pool.fleet import Fleet, Waiter
from invoker.pool.queue import Holding, Queue
from invoker.pool.slot import Slot
from invoker.pool.view import StartReason, WaitReason

_FIRM: Final = frozenset((StartReason.ALWAYS, StartReason.MOVED, StartReason.OVERDUE))
"""Reasons to start a container that no other container takes away."""


class Turns:
    """Who finds no container waits here: by choice for one of its own function's, or for memory. Owned by the pool.

    A container is its function's, lent to who gets it, from the moment at which it is granted: what follows in the same
    turn of the event loop counts on it. Nothing here awaits.
    """

    containers: Containers
    """Given to it by `container_pool`, for each of the two needs the other."""

    def __init__(self, settings: PoolSettings, clock: Callable[[], float]) -> None:
        self.queue = Queue()
        self.waits = dict.fromkeys(WaitReason, 0)
        """Activations that had to wait, by reason; one that had several counts for each."""
        self._clock = clock
        self._patience = settings.patience
        self._always = settings.scale_out == "always"
        self._most_starts = settings.parallel_starts
        self._short = False
        """What the head of the queue lacks is memory, not its turn to start."""
        self._holding = Holding(self._overdue, clock)
        self._passed_over: dict[Fleet, None] = {}
        """Those that may have a container free and somebody who waits, for the sake of the queue's head."""

    # --- coming and going -------------------------------------------------------------------------------------

    def join(self, fleet: Fleet, executable: Executable, request: Request, *, moved: bool) -> Waiter:
        """Have an activation wait: for memory, with a reason to start a container, or by choice."""
        now = self._clock()
        reason = StartReason.MOVED if moved else self._why_start(fleet, executable, now, len(fleet.waiting))
        granted: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        waiter = Waiter(fleet, executable, request, now, reason, granted)
        if reason is None:
            self._hold(waiter, now)
        else:
            self._queue_up(waiter)
        if not granted.done() and fleet.free() is not None:
            self._passed_over[fleet] = None
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter that was cancelled."""
        self.queue.leave(waiter)

    def ready(self, fleet: Fleet) -> None:
        """Have those who wait by choice do so no longer than a start is worth by what is known of starts now.

        For a function that nobody knows that time begins when the first container runs something: for how long they
        waited before says nothing of how long that will take.
        """
        if fleet.waiting:
            unknown = fleet.hold is None and len(fleet.slots) - len(fleet.starting) == 1
            overdue = self._clock() + fleet.patience(self.containers.typical_start)
            self._holding.limit(fleet, overdue, afresh=unknown)

    def rethink(self, fleet: Fleet) -> None:
        """Have those who wait by choice think again: a container is gone, or it is known now how long they hold one."""
        if fleet.waiting:  # later, for this is told in the middle of much else
            asyncio.get_running_loop().call_soon(self._think_again, fleet)

    def close(self) -> None:
        """Stop the timer."""
        self._holding.close()

    # --- whose turn it is -------------------------------------------------------------------------------------

    def may_overtake(self, fleet: Fleet) -> bool:
        """Say whether what is free of a fleet may be used before the head of the queue has got what it needs."""
        head = self.queue.head()
        if head is None or head.fleet is fleet or not self._short:
            return True
        stuck_since = max(head.since, head.fleet.granted_at)
        return self._clock() - stuck_since < self._patience

    def next_of(self, fleet: Fleet) -> Waiter | None:
        """Return whom a free container of `fleet` serves now."""
        if self.queue and not self.may_overtake(fleet):
            self._passed_over[fleet] = None
            return None
        return fleet.first_waiting()

    def grant(self, waiter: Waiter, slot: Slot) -> None:
        """Let a waiter go with the share of a container that is lent to it."""
        self.queue.grant(waiter, slot, self._clock())

    def serve(self) -> bool:
        """Give the head of the queue what it needs, then the next, until one must go on waiting; return if one must."""
        while (head := self.queue.head()) is not None:
            slot = head.fleet.free()
            if slot is not None:
                self.containers.lend(slot)
                self.grant(head.fleet.first_waiting() or head, slot)
            elif not self._thinks_better(head):
                slot = self._container_for(head)
                if slot is None:
                    break
                self.grant(head, slot)
                self._offer(head.fleet)
        for fleet in list(self._passed_over):
            self._offer(fleet)
        if head is None:
            self.containers.nobody_waits()
        return head is not None

    def _offer(self, fleet: Fleet) -> None:
        """Give what is free of a fleet to those who wait for it."""
        while fleet.waiting and (slot := fleet.free()) is not None:
            waiter = self.next_of(fleet)
            if waiter is None:
                return
            self.containers.lend(slot)
            self.grant(waiter, slot)
        self._passed_over.pop(fleet, None)

    def _container_for(self, head: Waiter) -> Slot | None:
        """Return a container of its own for the head of the queue: a stem cell, or memory, a name, and its turn."""
        fleet, containers = head.fleet, self.containers
        slot = containers.stem_cells.take(head.executable.runtime, fleet.memory)
        if slot is None:
            self._short = False
            if containers.creating >= self._most_starts:
                return None
            if not containers.reserve(fleet.memory):
                self._short = True
                return None
            containers.stem_cells.missed(head.executable.runtime, fleet.memory)
            slot = containers.starter.slot_for(head.executable, head.request)
        assert head.reason is not None  # noqa: S101 (nobody is in the queue without one)
        containers.enlist(slot, fleet, head.executable.function.limits.concurrency, head.reason)
        head.first = True
        return slot

    # --- to wait, or to start another -------------------------------------------------------------------------

    def _why_start(self, fleet: Fleet, executable: Executable, now: float, ahead: int) -> StartReason | None:
        reason = fleet.why_start(now, self.containers.typical_start, ahead, always=self._always)
        if reason is None and fleet.hold is None and self.containers.stem_cells.has(executable.runtime, fleet.memory):
            return StartReason.BUSY  # started already, for just this: a function that nobody knows
        return reason

    def _hold(self, waiter: Waiter, now: float) -> None:
        """Have a waiter wait for a container of its own function, for as long as a start is worth."""
        self._count(waiter, WaitReason.SOONER)
        waiter.reason = None
        waiter.overdue = now + waiter.fleet.patience(self.containers.typical_start)
        self._holding.join(waiter)

    def _queue_up(self, waiter: Waiter) -> None:
        self.queue.join(waiter)
        self.serve()
        if waiter in self.queue:
            self._count(waiter, WaitReason.MEMORY if self._short else WaitReason.STARTS)

    def _count(self, waiter: Waiter, reason: WaitReason) -> None:
        """Count a wait, once: who waits may change its mind many times."""
        if reason not in waiter.reasons:
            waiter.reasons += (reason,)
            self.waits[reason] += 1

    def _thinks_better(self, head: Waiter) -> bool:
        """Have the head wait by choice, if meanwhile others have started containers that serve it sooner."""
        fleet = head.fleet
        if not fleet.slots or head.reason in _FIRM:
            return False
        now = self._clock()
        if self._why_start(fleet, head.executable, now, fleet.ahead_of(head)) is not None:
            return False
        self.queue.pop(head)
        self._hold(head, now)
        return True

    def _overdue(self, fleet: Fleet, due: Sequence[Waiter]) -> None:
        """Have those who waited by choice for too long wait for memory instead.

        At most as many as there are containers, so that these double at most: when the machine was busy elsewhere for a
        moment, all who wait are overdue at once. The others wait once more. All of them if the function never ended yet
        though it runs: it takes so long that it is worth a start for each.
        """
        now = self._clock()
        most = len(due) if fleet.hold is None and fleet.ready else max(1, len(fleet.slots))
        for waiter in due:
            if waiter.granted.done():
                continue
            if most:
                most -= 1
                self._insist(waiter, StartReason.OVERDUE, now)
            else:
                waiter.overdue = now + fleet.patience(self.containers.typical_start)

    def _think_again(self, fleet: Fleet) -> None:
        now = self._clock()
        if not fleet.waiting:
            return
        last = next(reversed(fleet.waiting))  # who came last waits longest
        if self._why_start(fleet, last.executable, now, len(fleet.waiting) - 1) is None:
            return
        ahead = 0
        for waiter in list(fleet.waiting):
            if waiter.granted.done():
                continue
            if waiter.reason is None and (reason := self._why_start(fleet, waiter.executable, now, ahead)) is not None:
                self._insist(waiter, reason, now)
            ahead += waiter in fleet.waiting

    def _insist(self, waiter: Waiter, reason: StartReason, now: float) -> None:
        """Have one who waited by choice want a container of its own."""
        waiter.reason = reason
        waiter.since = now
        self._queue_up(waiter)
