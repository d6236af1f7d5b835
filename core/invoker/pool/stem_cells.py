"""Prewarmed containers: as many of each kind and memory as the manifest wants (spec 10.6)."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from invoker.entities.runtimes import Runtime, Runtimes, StemCell
from invoker.errors import ContainerError
from invoker.pool.slot import Slot, State
from invoker.pool.starting import Starter
from invoker.pool.view import StemCellView

logger = logging.getLogger("invoker.pool")

FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
"""Seconds after a failed start until the next, doubled from the first until the last (spec T77)."""
_DOUBLINGS: Final = 6
"""From the first to the last."""
EXPIRED_AT_ONCE: Final = 100
"""Removed at most in one adjustment (spec 10.6.3)."""


class Culture:
    """The stem cells of one kind and memory."""

    def __init__(self, runtime: Runtime, settings: StemCell) -> None:
        self.runtime = runtime
        self.settings = settings
        self.wanted = settings.count
        self.ready: OrderedDict[Slot, None] = OrderedDict()
        """The oldest comes first: it expires soonest."""
        self.starting: set[Slot] = set()
        self.cold_starts = 0
        """Since the last adjustment."""
        self.failures = 0
        """Starts that failed, in a row; those under way at the same time are one."""
        self.deaths = 0
        """Stem cells that ended by themselves before long, in a row; likewise."""
        self.failure: str | None = None
        self.retry_at = 0.0
        self.skipped = False
        """Said already that memory is missing."""

    @property
    def missing(self) -> int:
        """How many are to be started."""
        return self.wanted - len(self.ready) - len(self.starting)

    def put_off(self, now: float, times: int) -> None:
        """Start no more for a while: something went wrong `times` in a row."""
        self.retry_at = now + min(FIRST_RETRY * 2 ** min(times - 1, _DOUBLINGS), LAST_RETRY)

    def adjust(self) -> None:
        """Follow the demand (spec 10.6.3 b and d)."""
        reactive = self.settings.reactive
        if reactive is not None:
            asked = self.cold_starts // reactive.threshold * reactive.increment
            self.wanted = min(max(reactive.min_count, asked), reactive.max_count)
        self.cold_starts = 0

    def expired(self, now: float) -> Iterator[Slot]:
        """Return those whose time is over; only reactive ones have an end."""
        if self.settings.reactive is not None:
            yield from (slot for slot in self.ready if now - slot.born >= self.settings.reactive.ttl)


class Keeper(Protocol):
    """Who has the memory and the containers, as stem cells see it."""

    def reserve_spare(self, size: int) -> bool:
        """Reserve memory that nobody waits for."""
        ...

    def release(self, size: int) -> None:
        """Give memory back."""
        ...

    def serve(self) -> bool:
        """Look who waits: one stem cell more can be taken, or make room."""
        ...

    def remove(self, slot: Slot) -> None:
        """Begin to remove a container that nobody uses."""
        ...

    def stem_cell_started(self, seconds: float) -> None:
        """Take into account how long a start took."""
        ...


class StemCells:
    """Keeps every culture at its number while there is memory and nobody waits for it. Owned by the pool."""

    def __init__(
        self,
        runtimes: Runtimes,
        starter: Starter,
        keeper: Keeper,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
    ) -> None:
        self._cultures = {
            (runtime.kind, cell.memory): Culture(runtime, cell) for runtime in runtimes for cell in runtime.stem_cells
        }
        self._starter = starter
        self._keeper = keeper
        self._tasks = tasks
        self._clock = clock
        self._wake = asyncio.Event()
        self._starts: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def memory(self) -> int:
        """Bytes of all that are ready."""
        return sum(slot.memory for culture in self._cultures.values() for slot in culture.ready)

    def has(self, runtime: Runtime, memory: int) -> bool:
        """Say whether there is one to take."""
        culture = self._cultures.get((runtime.kind, memory))
        return culture is not None and bool(culture.ready)

    def take(self, runtime: Runtime, memory: int) -> Slot | None:
        """Take one of exactly this kind and memory, the soonest to expire (spec 10.2)."""
        culture = self._cultures.get((runtime.kind, memory))
        if culture is None or not culture.ready:
            return None
        slot, _ = culture.ready.popitem(last=False)
        culture.deaths = 0
        self._wake.set()
        return slot

    def missed(self, runtime: Runtime, memory: int) -> None:
        """Count a cold start that one would have spared (spec 10.6.5)."""
        culture = self._cultures.get((runtime.kind, memory))
        if culture is not None:
            culture.cold_starts += 1

    def take_any(self) -> Slot | None:
        """Take one to make room: a function that is asked for comes before one that may be (spec T78)."""
        for culture in self._cultures.values():
            if culture.ready:
                return culture.ready.popitem(last=False)[0]
        return None

    def discard(self, slot: Slot) -> None:
        """Forget one that has ended by itself."""
        for culture in self._cultures.values():
            if slot in culture.ready:
                del culture.ready[slot]
                self._died(culture, slot)

    def wake(self) -> None:
        """Look again: memory was given back."""
        self._wake.set()

    async def keep(self, interval: float) -> None:
        """Start what is missing, now and whenever something changes; adjust to the demand every `interval` seconds.

        What is due is decided by one reading of the clock. With one for what is started and a later one for how long to
        sleep, a retry that came due in between was forgotten until the next adjustment (timers ring a little early).
        """
        if not self._cultures:
            return
        adjust_at = self._clock() + interval
        while True:
            now = self._clock()
            if now >= adjust_at:
                self.adjust(now)
                adjust_at = now + interval
            self.backfill(now)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_due(now, adjust_at) - now):
                    await self._wake.wait()
            self._wake.clear()

    def adjust(self, now: float) -> None:
        """Remove what has expired, and follow the demand (spec 10.6.3)."""
        expired = [(culture, slot) for culture in self._cultures.values() for slot in culture.expired(now)]
        for culture, slot in sorted(expired, key=lambda one: one[1].born)[:EXPIRED_AT_ONCE]:
            del culture.ready[slot]
            self._keeper.remove(slot)
        for culture in self._cultures.values():
            culture.adjust()

    def backfill(self, now: float) -> None:
        """Start what is missing and fits."""
        for culture in self._cultures.values():
            while culture.missing > 0 and now >= culture.retry_at and not self._closed:
                if not self._keeper.reserve_spare(culture.settings.memory):
                    self._skip(culture)
                    break
                culture.skipped = False
                slot = self._starter.stem_cell(culture.runtime, culture.settings.memory)
                culture.starting.add(slot)
                start = self._tasks.create_task(self._start(culture, slot), name="stem cell")
                self._starts.add(start)
                start.add_done_callback(partial(self._ended, culture, slot))

    async def close(self) -> None:
        """Start no more, and wait for the starts under way."""
        self._closed = True
        for start in self._starts:
            start.cancel()
        while self._starts:
            await asyncio.wait(self._starts)

    def view(self) -> Iterator[StemCellView]:
        """Return what operators see."""
        for culture in self._cultures.values():
            yield StemCellView(
                kind=culture.runtime.kind,
                memory=culture.settings.memory,
                wanted=culture.wanted,
                ready=len(culture.ready),
                starting=len(culture.starting),
                failure=culture.failure,
            )

    async def _start(self, culture: Culture, slot: Slot) -> None:
        try:
            await self._starter.start(slot)
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            self._failed(culture, slot, error)
            return
        finally:
            culture.starting.discard(slot)  # in the step in which it is ready: nobody must see it counted twice
        culture.failures = 0
        culture.failure = None
        if slot.gone:
            self._keeper.remove(slot)
            self._died(culture, slot)
            return
        slot.state = State.PREWARMED
        slot.since = self._clock()
        self._keeper.stem_cell_started(slot.since - slot.born)
        culture.ready[slot] = None
        self._keeper.serve()

    def _ended(self, culture: Culture, slot: Slot, start: asyncio.Task[None]) -> None:
        """A start has ended in any way; if it was cancelled, perhaps before it began."""
        self._starts.discard(start)
        culture.starting.discard(slot)
        if start.cancelled():
            self._keeper.release(slot.memory)
        self._wake.set()

    def _failed(self, culture: Culture, slot: Slot, error: Exception) -> None:
        now = self._clock()
        if now >= culture.retry_at:
            culture.failures += 1
            culture.put_off(now, culture.failures)
        culture.failure = str(error)
        logger.warning(
            "no %s container of %d MB could be prewarmed, next try in %g s: %s",
            culture.runtime.kind,
            slot.memory >> 20,
            culture.retry_at - now,
            error,
            exc_info=None if isinstance(error, ContainerError) else error,
        )
        self._keeper.release(slot.memory)

    def _died(self, culture: Culture, slot: Slot) -> None:
        """Put off the next start: an image that ends at once must not be started again at once (spec T77)."""
        now = self._clock()
        if now >= culture.retry_at:
            culture.deaths = 1 if now - slot.born >= LAST_RETRY else culture.deaths + 1
            culture.put_off(now, culture.deaths)
        culture.failure = f"{slot.name} ended by itself"
        logger.warning("prewarmed container %s ended by itself, next start in %g s", slot.name, culture.retry_at - now)
        self._wake.set()

    def _skip(self, culture: Culture) -> None:
        if not culture.skipped:
            culture.skipped = True
            logger.info(
                "no memory for %d prewarmed %s containers of %d MB",
                culture.missing,
                culture.runtime.kind,
                culture.settings.memory >> 20,
            )

    def _next_due(self, now: float, adjust_at: float) -> float:
        """Clock's time at which there is something to do that nobody tells."""
        retries = (one.retry_at for one in self._cultures.values() if one.missing > 0 and one.retry_at > now)
        return min((adjust_at, *retries))
