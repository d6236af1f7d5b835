"""The pool: the only way to a container. Here is decided who gets which, who waits, and who starts another."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from invoker.config import LimitsSettings, NodeSettings, PoolSettings
from invoker.contracts import ContainerRuntime, LogExtractor
from invoker.entities.activation import Outcome
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.entities.runtimes import Runtimes
from invoker.pool.containers import Containers
from invoker.pool.fleet import Fleet, Waiter
from invoker.pool.lease import Lease
from invoker.pool.queue import Holding, Queue
from invoker.pool.slot import Slot, State, WarmKey
from invoker.pool.view import ColdStart, PoolView, StartReason, WaitReason
from invoker.pool.viewing import view_of

RECENT: Final = 50
"""Cold starts that operators can look at."""

_FIRM: Final = frozenset((StartReason.ALWAYS, StartReason.MOVED, StartReason.OVERDUE))
"""Reasons to start a container that no other container takes away."""


@asynccontextmanager
async def container_pool(  # noqa: PLR0913 (what it is made of)
    runtime: ContainerRuntime,
    logs: LogExtractor,
    settings: PoolSettings,
    *,
    node: NodeSettings,
    limits: LimitsSettings,
    runtimes: Runtimes,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator["Pool"]:
    """Run a pool; leaving removes every container. Leases must have ended by then.

    `runtimes` says which containers are started before anybody asks for them.
    """
    async with asyncio.TaskGroup() as tasks:
        pool = Pool(settings, clock)
        pool.containers = Containers(
            runtime,
            logs,
            settings,
            node=node,
            limits=limits,
            runtimes=runtimes,
            tasks=tasks,
            clock=clock,
            on_released=pool.serve,
        )
        upkeep = (
            tasks.create_task(_sweep(pool, settings), name="idle containers"),
            tasks.create_task(pool.containers.stem_cells.keep(settings.prewarm_interval), name="stem cells"),
        )
        try:
            yield pool
        finally:  # drain inside the group: a group that is left by an exception cancels its tasks
            for task in upkeep:
                task.cancel()
            await pool.empty()


async def _sweep(pool: "Pool", settings: PoolSettings) -> None:
    shortest = min(settings.idle_timeout, settings.pause_grace) if settings.pause else settings.idle_timeout
    while True:
        await asyncio.sleep(min(shortest / 4, 60))
        pool.containers.look_after_idle()


class Pool:
    """Gives containers to activations, by way of leases.

    Who finds no container waits: by choice for one of its own function's, while that is expected to be sooner than a
    start, or for memory. The queue for memory is fair: nobody overtakes its head, with one exception that saves a cold
    start: a container that becomes free goes to the first waiter of its own function, until nobody of the head's
    function has got anything for `patience` seconds.
    """

    containers: Containers
    """Given to it by `container_pool`, for each of the two needs the other."""

    def __init__(self, settings: PoolSettings, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._patience = settings.patience
        self._always = settings.scale_out == "always"
        self._queue = Queue()
        self._holding = Holding(self._overdue, clock)
        self.starts = dict.fromkeys(StartReason, 0)
        """Activations that were not served by a warm container, by reason."""
        self.waits = dict.fromkeys(WaitReason, 0)
        """Activations that had to wait, by reason."""
        self._recent: deque[ColdStart] = deque(maxlen=RECENT)

    # --- for the invocation -----------------------------------------------------------------------------------

    def lease(self, executable: Executable, request: Request, *, moved: bool = False) -> Lease:
        """Return the way to a container for one activation; `moved` if one before did not take it."""
        return Lease(self, executable, request, moved=moved)

    def take_warm(self, key: WarmKey) -> Slot | None:
        """Take a share of a container of `key` that is free, if nobody must not be overtaken for it."""
        fleet = self.containers.fleets.get(key)
        if fleet is None or (self._queue and not self._may_overtake(fleet)):
            return None
        slot = fleet.free()
        if slot is not None:
            self.containers.lend(slot)
        return slot

    async def obtain(self, key: WarmKey, executable: Executable, request: Request, *, moved: bool) -> Slot:
        """Wait for a container of `key`, or start one.

        Raises:
            StartFailed: it could not be started.
        """
        function = executable.function
        fleet = self.containers.fleets.of(key, function.limits.memory_bytes, function.document_id)
        waiter = self._wait(fleet, executable, moved=moved)
        try:
            slot = await waiter.granted
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        if slot is not None and slot.fleet is fleet:
            return slot
        assert waiter.reason is not None  # noqa: S101 (who waits by choice gets a container of the fleet)
        self.starts[waiter.reason] += 1
        if slot is None:
            slot = await self.containers.start(fleet, executable, request, waiter.reason)
        else:
            self.containers.enlist(slot, fleet, function.limits.concurrency, waiter.reason)
        self._note(slot, fleet, waiter.reason)
        return slot

    async def thaw(self, slot: Slot) -> None:
        """See `Freezer.thaw`."""
        await self.containers.freezer.thaw(slot)

    def initialised(self, slot: Slot, outcome: Outcome | None) -> None:
        """See `Containers.initialised`."""
        self.containers.initialised(slot, outcome)

    def give_back(self, slot: Slot, *, keep: bool, held: float | None) -> None:
        """Take a share back from a lease that kept it for `held` seconds, if that means anything."""
        fleet = slot.owner
        slot.active -= 1
        slot.served += 1
        if held is not None:
            fleet.held(held)
        if not keep or slot.gone or slot.doomed:
            self.containers.doom(slot)
        elif fleet.waiting and (waiter := self._next_of(fleet)) is not None:
            self.containers.lend(slot)
            self._queue.grant(waiter, slot, self.clock())
        else:
            self.containers.rest(slot)
        if self._queue:
            self.serve()

    # --- for the owner ----------------------------------------------------------------------------------------

    async def empty(self) -> None:
        """Remove every container that nobody uses, and wait until all removals have ended."""
        self._holding.close()
        await self.containers.empty()

    async def peak_memory(self) -> int | None:
        """Return the most memory that any living container has used, in bytes, where the runtime can tell."""
        states = [
            await slot.container.inspect() for slot in list(self.containers.starter) if slot.container is not None
        ]
        return max((state.peak_memory for state in states if state.peak_memory is not None), default=None)

    @property
    def memory_used(self) -> int:
        """Bytes of all containers, those that are being started or removed included."""
        return self.containers.budget.used

    def count(self, state: State) -> int:
        """Return how many containers are in `state`."""
        return sum(slot.state is state for slot in self.containers.starter)

    @property
    def waiting(self) -> int:
        """Activations that wait for a container."""
        return sum(len(fleet.waiting) for fleet in self.containers.fleets)

    def view(self) -> PoolView:
        """Return what operators see."""
        return view_of(
            self.containers, starts=self.starts, waits=self.waits, recent=tuple(self._recent), now=self.clock()
        )

    # --- who waits --------------------------------------------------------------------------------------------

    def _wait(self, fleet: Fleet, executable: Executable, *, moved: bool) -> Waiter:
        """Join those who wait: for memory, with a reason to start a container, or by choice."""
        now = self.clock()
        reason = StartReason.MOVED if moved else self._why_start(fleet, now, len(fleet.waiting))
        waiter = Waiter(fleet, executable.runtime, now, reason, asyncio.get_running_loop().create_future())
        if reason is None:
            self._hold(waiter, now)
        else:
            self._queue.join(waiter)
            self.serve()
            if waiter in self._queue:
                self.waits[WaitReason.MEMORY] += 1
        return waiter

    def _why_start(self, fleet: Fleet, now: float, ahead: int) -> StartReason | None:
        return fleet.why_start(now, self.containers.typical_start, ahead, always=self._always)

    def _hold(self, waiter: Waiter, now: float) -> None:
        """Have a waiter wait for a container of its own function, for as long as a start is worth."""
        self.waits[WaitReason.SOONER] += 1
        waiter.reason = None
        waiter.overdue = now + waiter.fleet.patience(self.containers.typical_start)
        self._holding.join(waiter)

    def _overdue(self, waiter: Waiter) -> None:
        waiter.reason = StartReason.OVERDUE
        waiter.since = self.clock()
        self._queue.join(waiter)
        self.serve()

    def _may_overtake(self, fleet: Fleet) -> bool:
        head = self._queue.head()
        if head is None or head.fleet is fleet:
            return True
        stuck_since = max(head.since, head.fleet.granted_at)
        return self.clock() - stuck_since < self._patience

    def _next_of(self, fleet: Fleet) -> Waiter | None:
        """Return whom a free container of `fleet` serves now."""
        return fleet.first_waiting() if not self._queue or self._may_overtake(fleet) else None

    def serve(self) -> bool:
        """Give the head of the queue what it needs, then the next, until one must go on waiting; return if one must."""
        while (head := self._queue.head()) is not None:
            slot = head.fleet.free()
            if slot is not None:
                self.containers.lend(slot)
            elif self._thinks_better(head):
                continue
            else:
                slot = self.containers.stem_cells.take(head.runtime, head.fleet.memory)
                if slot is None and not self._reserve(head):
                    return True
            self._queue.grant(head, slot, self.clock())
        return False

    def _thinks_better(self, head: Waiter) -> bool:
        """Have the head wait by choice, if meanwhile others have started containers that serve it sooner."""
        fleet = head.fleet
        if not fleet.slots or head.reason in _FIRM:
            return False
        now = self.clock()
        if self._why_start(fleet, now, fleet.ahead_of(head)) is not None:
            return False
        self._queue.pop(head)
        self._hold(head, now)
        return True

    def _reserve(self, head: Waiter) -> bool:
        """Reserve memory for a container, or begin to make room for it."""
        memory = head.fleet.memory
        if not self.containers.budget.reserve(memory):
            self.containers.make_room(memory)
            return False
        self.containers.stem_cells.missed(head.runtime, memory)
        return True

    def _abandon(self, waiter: Waiter) -> None:
        """Undo what a waiter that was cancelled may already have been granted."""
        if not waiter.granted.done() or waiter.granted.cancelled():
            self._queue.leave(waiter)
        elif (slot := waiter.granted.result()) is None:
            self.containers.release(waiter.fleet.memory)
        elif slot.fleet is None:  # a stem cell that was just taken
            self.containers.remove(slot)
        else:
            self.give_back(slot, keep=True, held=None)
        self.containers.fleets.settle(waiter.fleet)
        self.serve()

    def _note(self, slot: Slot, fleet: Fleet, reason: StartReason) -> None:
        self._recent.appendleft(
            ColdStart(
                at=time.time_ns() // 1_000_000,
                namespace=fleet.namespace,
                action=fleet.action,
                container=slot.spec.name,
                reason=reason.value,
                prewarmed=slot.stem_cell,
            )
        )
