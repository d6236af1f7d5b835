"""The life of containers: from the memory that is reserved for one until that memory is given back."""

import asyncio
from collections.abc import Callable

from invoker.config import LimitsSettings, NodeSettings, PoolSettings
from invoker.contracts import ContainerRuntime, LogExtractor
from invoker.entities.activation import Outcome
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.entities.runtimes import Runtimes
from invoker.pool.budget import MemoryBudget
from invoker.pool.fleet import Fleet
from invoker.pool.fleets import Fleets
from invoker.pool.freezing import Freezer
from invoker.pool.removing import Remover
from invoker.pool.scaling import START, averaged
from invoker.pool.shelf import Shelf
from invoker.pool.slot import Slot, State
from invoker.pool.starting import Starter
from invoker.pool.stem_cells import StemCells
from invoker.pool.view import StartReason


class Containers:
    """Every container of this invoker, and the memory they share. Owned by the pool, which decides who gets which.

    Memory is reserved before a container is created and released when it is gone, so that the sum never exceeds the
    budget (spec T76).
    """

    def __init__(  # noqa: PLR0913 (see `container_pool`)
        self,
        runtime: ContainerRuntime,
        logs: LogExtractor,
        settings: PoolSettings,
        *,
        node: NodeSettings,
        limits: LimitsSettings,
        runtimes: Runtimes,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        on_released: Callable[[], bool],
    ) -> None:
        """`on_released` gives free memory to those who wait for it, and says whether somebody still does."""
        self._clock = clock
        self._on_released = on_released
        self._idle_timeout = settings.idle_timeout
        self.budget = MemoryBudget(settings.memory)
        self.fleets = Fleets()
        self.shelf = Shelf()
        self.starter = Starter(runtime, logs, node, limits, clock, self._on_gone)
        self.freezer = Freezer(settings, self.shelf, tasks, clock)
        self._remover = Remover(tasks, self._forget)
        self.stem_cells = StemCells(runtimes, self.starter, self, tasks, clock)
        self.typical_start: float | None = None
        """Seconds that starts take here, whatever the function; a moving average."""

    # --- in use -----------------------------------------------------------------------------------------------

    def lend(self, slot: Slot) -> None:
        """Lend one more share of a container that serves already."""
        slot.active += 1
        if slot.active == 1:
            self.shelf.discard(slot)
            if not slot.frozen:
                slot.state = State.BUSY
                slot.since = self._clock()
        if slot.shares > 1:
            spare = slot.owner.spare
            if slot.active < slot.shares:
                spare[slot] = None
            else:
                spare.pop(slot, None)

    def initialised(self, slot: Slot, outcome: Outcome | None) -> None:
        """Note how `/init` ended, and how long the start took."""
        if outcome is None:
            fleet = slot.owner
            began = fleet.starting.pop(slot)
            fleet.ready += slot.shares
            if not slot.stem_cell:
                took = self._clock() - began
                fleet.started(took)
                self.typical_start = averaged(self.typical_start, took, START)
        slot.initialised_with(outcome)

    def rest(self, slot: Slot) -> None:
        """Keep a container of which a share came back for whoever comes."""
        spare = slot.owner.spare
        if slot.active:
            spare[slot] = None
            return
        spare.pop(slot, None)
        slot.state = State.IDLE
        slot.since = self._clock()
        self.shelf.put(slot)

    def doom(self, slot: Slot) -> None:
        """Lend no further share; remove it when the last one is back (spec 10.11.1)."""
        slot.doomed = True
        slot.never_initialised()
        slot.owner.spare.pop(slot, None)
        if not slot.active and slot.state is not State.REMOVING:
            self.remove(slot)

    # --- beginning and end --------------------------------------------------------------------------------------

    async def start(self, fleet: Fleet, executable: Executable, request: Request, reason: StartReason) -> Slot:
        """Start a container in memory that is reserved already, lent to whoever initialises it.

        Raises:
            StartFailed: no container came of it; the memory is released.
        """
        slot = self.starter.slot_for(executable, request)
        self.enlist(slot, fleet, executable.function.limits.concurrency, reason)
        try:
            await self.starter.start(slot)
        except BaseException:
            self._strike_off(slot, StartReason.DIED)
            slot.state = State.REMOVING  # nothing is there to remove: those who wait for it only have to leave
            self.release(slot.memory)
            raise
        slot.state = State.BUSY
        slot.since = self._clock()
        return slot

    def enlist(self, slot: Slot, fleet: Fleet, shares: int, reason: StartReason) -> None:
        """Make a container one of `fleet`'s, lent to whoever initialises it. Others may join at once (10.12.2)."""
        slot.fleet = fleet
        slot.shares = shares
        slot.reason = reason
        slot.active = 1
        fleet.slots.add(slot)
        fleet.starting[slot] = self._clock()
        if shares > 1:
            fleet.spare[slot] = None
        if slot.state is State.PREWARMED:
            slot.state = State.BUSY
            slot.since = self._clock()

    def remove(self, slot: Slot, why: StartReason = StartReason.DIED) -> None:
        """Begin to remove a container that nobody uses."""
        self._strike_off(slot, why)
        slot.state = State.REMOVING
        slot.since = self._clock()
        self._remover.remove(slot)

    def make_room(self, needed: int) -> None:
        """Evict what has been idle longest, then stem cells, if together they make the difference (spec 10.4)."""
        shortage = needed - self.budget.free - self._remover.memory
        if shortage > self.shelf.memory + self.stem_cells.memory:
            return
        while shortage > 0 and (slot := self.shelf.take_oldest() or self.stem_cells.take_any()) is not None:
            shortage -= slot.memory
            self.remove(slot, StartReason.EVICTED)

    def release(self, size: int) -> None:
        """Give memory back; what nobody waits for may be for stem cells."""
        self.budget.release(size)
        if not self._on_released():
            self.stem_cells.wake()

    def reserve_spare(self, size: int) -> bool:
        """Reserve memory that nobody waits for."""
        return not self._on_released() and self.budget.reserve(size)

    def look_after_idle(self) -> None:
        """Remove containers that have been idle for too long, pause those that have been for a while (spec 10.1)."""
        before = self._clock() - self._idle_timeout
        while (slot := self.shelf.oldest()) is not None and slot.since <= before:
            self.shelf.discard(slot)
            self.remove(slot, StartReason.EXPIRED)
        self.freezer.freeze()

    async def empty(self) -> None:
        """Remove every container that nobody uses, and wait until all removals have ended."""
        await self.stem_cells.close()
        while (slot := self.shelf.take_oldest() or self.stem_cells.take_any()) is not None:
            self.remove(slot)
        await self._remover.done()

    # --- inside -------------------------------------------------------------------------------------------------

    def _on_gone(self, slot: Slot) -> None:
        """Drop a container that died while nobody used it; a busy one is its leases' business."""
        if slot.active:
            slot.doomed = True
            slot.owner.spare.pop(slot, None)
        elif slot.state is State.PREWARMED:
            self.stem_cells.discard(slot)
            self.remove(slot)
        elif slot.state in {State.IDLE, State.PAUSING, State.PAUSED}:
            self.shelf.discard(slot)
            self.remove(slot)

    def _strike_off(self, slot: Slot, why: StartReason) -> None:
        """Take a container from its fleet, if it has one."""
        fleet = slot.fleet
        if fleet is None:
            return
        slot.doomed = True
        slot.never_initialised()
        fleet.slots.discard(slot)
        fleet.spare.pop(slot, None)
        if slot.initialised:
            fleet.ready -= slot.shares
        fleet.starting.pop(slot, None)
        fleet.gone = why
        self.fleets.settle(fleet)

    def _forget(self, slot: Slot) -> None:
        """Release the memory of a container that is gone."""
        self.starter.slots.discard(slot)
        self.release(slot.memory)
