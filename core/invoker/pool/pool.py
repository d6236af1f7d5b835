"""The pool: the only way to a container. Here is decided who gets which, who waits, and who starts another."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from invoker.config import LimitsSettings, NodeSettings, PoolSettings
from invoker.contracts import ContainerRuntime, LogExtractor
from invoker.entities.activation import Outcome
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.entities.runtimes import Runtimes
from invoker.pool.containers import Containers
from invoker.pool.fleet import Waiter
from invoker.pool.lease import Lease
from invoker.pool.slot import Slot, State, WarmKey
from invoker.pool.turns import Turns
from invoker.pool.view import ColdStart, PoolView, StartReason, WaitReason
from invoker.pool.viewing import view_of

RECENT: Final = 50
"""Cold starts that operators can look at."""


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
        turns = Turns(settings, clock)
        containers = turns.containers = Containers(
            runtime,
            logs,
            settings,
            node=node,
            limits=limits,
            runtimes=runtimes,
            tasks=tasks,
            clock=clock,
            serve=turns.serve,
            on_ready=turns.ready,
            on_lost=turns.rethink,
        )
        pool = Pool(containers, turns, clock)
        upkeep = (
            tasks.create_task(_sweep(containers, settings), name="idle containers"),
            tasks.create_task(containers.stem_cells.keep(settings.prewarm_interval), name="stem cells"),
        )
        try:
            yield pool
        finally:  # drain inside the group: a group that is left by an exception cancels its tasks
            for task in upkeep:
                task.cancel()
            await pool.empty()


async def _sweep(containers: Containers, settings: PoolSettings) -> None:
    shortest = min(settings.idle_timeout, settings.pause_grace) if settings.pause else settings.idle_timeout
    while True:
        await asyncio.sleep(min(shortest / 4, 60))
        containers.look_after_idle()


class Pool:
    """Gives containers to activations, by way of leases.

    Who finds no container waits: by choice for one of its own function's, while that is expected to be sooner than a
    start, or for memory. The queue for memory is fair: nobody overtakes its head, with one exception that saves a cold
    start: a container that becomes free goes to the first waiter of its own function, until nobody of the head's
    function has got anything for `patience` seconds.
    """

    def __init__(self, containers: Containers, turns: Turns, clock: Callable[[], float]) -> None:
        self.containers = containers
        self.clock = clock
        self._turns = turns
        self._queue = turns.queue
        self.starts = dict.fromkeys(StartReason, 0)
        """Activations that were not served by a warm container, by reason."""
        self._recent: deque[ColdStart] = deque(maxlen=RECENT)

    # --- for the invocation -----------------------------------------------------------------------------------

    def lease(self, executable: Executable, request: Request, *, moved: bool = False) -> Lease:
        """Return the way to a container for one activation; `moved` if one before did not take it."""
        return Lease(self, executable, request, moved=moved)

    def take_warm(self, key: WarmKey) -> Slot | None:
        """Take a share of a container of `key` that is free, if nobody must not be overtaken for it."""
        fleet = self.containers.fleets.get(key)
        if fleet is None or (self._queue and not self._turns.may_overtake(fleet)):
            return None
        slot = fleet.free()
        if slot is not None:
            self.containers.lend(slot)
        return slot

    async def obtain(self, key: WarmKey, executable: Executable, request: Request, *, moved: bool) -> tuple[Slot, bool]:
        """Wait for a container of `key`, or start one; say whether who asks has to initialise it.

        Raises:
            StartFailed: it could not be started.
        """
        function = executable.function
        fleet = self.containers.fleets.of(key, function.limits.memory_bytes, function.document_id)
        waiter = self._turns.join(fleet, executable, request, moved=moved)
        try:
            slot = await waiter.granted
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        if waiter.first:
            assert slot.reason is not None  # noqa: S101 (it was started, or taken, for this one)
            self.starts[slot.reason] += 1
            if slot.container is None:
                await self.containers.start(slot)
            self._note(slot, slot.reason)
        return slot, waiter.first

    async def thaw(self, slot: Slot) -> None:
        """See `Freezer.thaw`."""
        await self.containers.freezer.thaw(slot)

    def initialised(self, slot: Slot, outcome: Outcome | None) -> None:
        """See `Containers.initialised`."""
        self.containers.initialised(slot, outcome)

    def give_back(self, slot: Slot, *, keep: bool, since: float | None, first: bool = False) -> None:
        """Take a share back from a lease that ran something in it since then, `first` if right after `/init`."""
        fleet = slot.owner
        queued = bool(self._queue)
        slot.active -= 1
        slot.served += 1
        now = self.clock()
        if since is not None:
            if first:
                fleet.held_first(now - since)
            elif fleet.held(now - since):
                self._turns.rethink(fleet)
            if keep and fleet.loss is not None:
                fleet.lost(0.0)
        if not keep or slot.doomed:
            self.containers.doom(slot)
        elif fleet.waiting and (waiter := self._turns.next_of(fleet)) is not None:
            self.containers.lend(slot)
            self._turns.grant(waiter, slot)
        else:
            self.containers.rest(slot, now)
        if queued:
            self._turns.serve()

    # --- for the owner ----------------------------------------------------------------------------------------

    async def empty(self) -> None:
        """Remove every container that nobody uses, and wait until all removals have ended."""
        self._turns.close()
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
    def waits(self) -> Mapping[WaitReason, int]:
        """See `Turns.waits`."""
        return self._turns.waits

    @property
    def waiting(self) -> int:
        """Activations that wait for a container."""
        return sum(len(fleet.waiting) for fleet in self.containers.fleets)

    def view(self) -> PoolView:
        """Return what operators see."""
        return view_of(
            self.containers, starts=self.starts, waits=self.waits, recent=tuple(self._recent), now=self.clock()
        )

    # --- inside -----------------------------------------------------------------------------------------------

    def _abandon(self, waiter: Waiter) -> None:
        """Undo what a waiter that was cancelled may already have been granted."""
        if not waiter.granted.done() or waiter.granted.cancelled():
            self._turns.leave(waiter)
        elif waiter.first and waiter.granted.result().container is None:
            self.containers.forsake(waiter.granted.result())
        else:
            self.give_back(waiter.granted.result(), keep=not waiter.first, since=None)
        self.containers.fleets.settle(waiter.fleet)
        self._turns.serve()

    def _note(self, slot: Slot, reason: StartReason) -> None:
        self._recent.appendleft(
            ColdStart(
                at=time.time_ns() // 1_000_000,
                namespace=slot.owner.namespace,
                action=slot.owner.action,
                container=slot.name,
                reason=reason.value,
                prewarmed=slot.stem_cell,
            )
        )
