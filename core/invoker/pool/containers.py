"""The life of containers: from the memory that is reserved for one until that memory is given back."""

import asyncio
from collections.abc import Callable

from invoker.config import LimitsSettings, NodeSettings, PoolSettings
from invoker.contracts import ContainerRuntime, LogExtractor
from invoker.entities.activation import Outcome
from invoker.entities.runtimes import Runtimes
from invoker.errors import StartFailed
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
        serve: Callable[[], bool],
        on_ready: Callable[[Fleet], None],
        on_lost: Callable[[Fleet], None],
    ) -> None:
        """`serve` gives what is free to those who wait for memory, and says whether somebody still does.

        `on_ready` is told of a function that has one more container that is initialised, `on_lost` of one less.
        """
        self._clock = clock
        self.serve = serve
        self._on_ready = on_ready
        self._on_lost = on_lost
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
        self.creating = 0
        """Containers that are being created for activations."""
        self._spare_refused = False
        """A prewarmed container was not started because somebody waited for memory."""

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
        slot.initialised_with(outcome)
        if outcome is not None:
            self.doom(slot)
            return
        fleet = slot.owner
        began = fleet.starting.pop(slot, None)
        if began is None:  # it has ended by itself meanwhile
            return
        fleet.ready += slot.shares
        if not slot.stem_cell:
            took = self._clock() - began
            fleet.started(took)
            self.typical_start = averaged(self.typical_start, took, START)
        self._on_ready(fleet)

    def rest(self, slot: Slot, now: float) -> None:
        """Keep a container of which a share came back for whoever comes."""
        spare = slot.owner.spare
        if slot.active:
            spare[slot] = None
            return
        spare.pop(slot, None)
        slot.state = State.IDLE if not slot.frozen else State.PAUSING if slot.transition else State.PAUSED
        slot.since = now
        self.shelf.put(slot)

    def doom(self, slot: Slot) -> None:
        """Lend no further share; remove it when the last one is back (spec 10.11.1)."""
        self._lose(slot)
        slot.never_initialised()
        if not slot.active:
            self.remove(slot)

    # --- beginning and end --------------------------------------------------------------------------------------

    async def start(self, slot: Slot) -> None:
        """Start a container that is enlisted, in memory that is reserved already.

        Raises:
            StartFailed: no container came of it; the memory is released, and all who joined fail alike (10.12.2).
        """
        try:
            await self.starter.start(slot)
        except BaseException as error:
            self.forsake(slot, error if isinstance(error, StartFailed) else None)
            raise
        self.creating -= 1
        slot.state = State.BUSY
        slot.since = self._clock()
        self.serve()

    def forsake(self, slot: Slot, failure: StartFailed | None = None) -> None:
        """Give up a container that was enlisted and not created: those who wait for it only have to leave.

        Whoever was to start it never returns its share, so that nobody removes what is not there.
        """
        self.creating -= 1
        if failure is not None and not slot.owner.ready:  # where others serve, they are waited for all the more
            slot.owner.lost(1.0)
        self._strike_off(slot, StartReason.DIED)
        slot.never_initialised(failure)
        slot.state = State.REMOVING
        self.release(slot.memory)

    def enlist(self, slot: Slot, fleet: Fleet, shares: int, reason: StartReason) -> None:
        """Make a container one of `fleet`'s, lent to whoever initialises it. Others may join at once (10.12.2)."""
        slot.fleet = fleet
        slot.shares = shares
        slot.reason = reason
        slot.active = 1
        fleet.slots.add(slot)
        fleet.starting[slot] = self._clock()
        if slot.container is None:
            self.creating += 1
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

    def reserve(self, size: int) -> bool:
        """Reserve memory for a container, or begin to make room for it."""
        if self.budget.reserve(size):
            return True
        self.make_room(size)
        return False

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
        if not self.serve():
            self.stem_cells.wake()

    def reserve_spare(self, size: int) -> bool:
        """Reserve memory that nobody waits for."""
        if self.serve():
            self._spare_refused = True
            return False
        return self.budget.reserve(size)

    def stem_cell_started(self, seconds: float) -> None:
        """Take the start of a stem cell for what starts take here, as long as none with an `/init` was seen."""
        if self.typical_start is None:
            self.typical_start = averaged(None, seconds, START)

    def nobody_waits(self) -> None:
        """Remember the stem cells that had to stand back."""
        if self._spare_refused:
            self._spare_refused = False
            self.stem_cells.wake()

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
        self.freezer.close()

    # --- inside -------------------------------------------------------------------------------------------------

    def _on_gone(self, slot: Slot) -> None:
        """Drop a container that died while nobody used it; the end of a busy one is its leases' business."""
        if slot.active:
            self._lose(slot)
        elif slot.state is State.PREWARMED:
            self.stem_cells.discard(slot)
            self.remove(slot)
        elif slot.state in {State.IDLE, State.PAUSING, State.PAUSED}:
            self.shelf.discard(slot)
            self.remove(slot)

    def _lose(self, slot: Slot) -> None:
        """Take a container that an activation cost from its fleet."""
        if not slot.doomed:
            slot.owner.lost(1.0)
            self._strike_off(slot, StartReason.DIED)

    def _strike_off(self, slot: Slot, why: StartReason) -> None:
        """Take a container from its fleet, if it has one: no share of it is lent any more, and none is counted on."""
        slot.doomed = True
        fleet = slot.fleet
        if fleet is None or slot not in fleet.slots:
            return
        fleet.slots.discard(slot)
        fleet.spare.pop(slot, None)
        if fleet.starting.pop(slot, None) is None:
            fleet.ready -= slot.shares
        fleet.gone = why
        self.fleets.settle(fleet)
        self._on_lost(fleet)

    def _forget(self, slot: Slot) -> None:
        """Release the memory of a container that is gone."""
        self.starter.slots.discard(slot)
        self.release(slot.memory)
