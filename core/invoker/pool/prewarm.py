"""Prewarmed containers: as many of each kind and memory as the manifest wants (spec 10.6)."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import PrewarmConfig, Runtimes
from invoker.errors import ContainerError, NoRoom
from invoker.pool.container import FreeList, PooledContainer, State
from invoker.pool.lifecycle import Containers
from invoker.pool.snapshot import PrewarmSnapshot, WaitReason

logger = logging.getLogger("invoker.pool")

FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
_DOUBLINGS: Final = 6
"""Seconds after a failed start until the next, doubled so often from the first to the last (spec T77)."""
EXPIRED_AT_ONCE: Final = 100
"""Removed at most in one adjustment (spec 10.6.3)."""


@dataclass(eq=False)
class PrewarmedKind:
    """The prewarmed containers of one kind and memory: how many there are to be, and what went wrong."""

    spec: ContainerSpec  # of each: only the last part of its name, and no environment
    config: PrewarmConfig
    wanted: int
    ready: FreeList = field(default_factory=OrderedDict)  # the oldest first: it expires soonest
    starting: set[PooledContainer] = field(default_factory=set)
    cold_starts: int = 0  # that one would have spared (spec 10.6.5), since the last adjustment
    failures: int = 0  # starts that failed, in a row; those under way at the same time are one
    deaths: int = 0  # containers that ended by themselves before long, in a row; likewise
    failure: str | None = None  # what went wrong last
    retry_at: float = 0.0
    skipped: bool = False  # said already that memory, or room, is missing

    @property
    def missing(self) -> int:
        """How many are to be started."""
        return self.wanted - len(self.ready) - len(self.starting)

    def put_off(self, now: float, times: int) -> None:
        """Start no more for a while: something went wrong `times` in a row."""
        self.retry_at = now + min(FIRST_RETRY * 2 ** min(times - 1, _DOUBLINGS), LAST_RETRY)

    def skip(self, lack: WaitReason) -> None:
        """Say, once, that nothing can be started for lack of something."""
        if not self.skipped:
            self.skipped = True
            what = f"{self.spec.runtime.kind} containers of {self.config.memory >> 20} MB"
            logger.info("no %s for %d prewarmed %s", lack.value, self.missing, what)

    def adjust(self) -> None:
        """Follow the demand (spec 10.6.3 b and d)."""
        reactive = self.config.reactive
        if reactive is not None:
            asked = self.cold_starts // reactive.threshold * reactive.increment
            self.wanted = min(max(reactive.min_count, asked), reactive.max_count)
        self.cold_starts = 0


class Prewarmer:
    """Starts prewarmed containers while there is memory and nobody waits for it."""

    def __init__(self, runtimes: Runtimes, containers: Containers) -> None:
        self._containers = containers
        self._clock = containers.clock
        self._kinds: dict[tuple[str, int], PrewarmedKind] = {}
        for runtime in runtimes:
            for config in runtime.prewarm:
                spec = ContainerSpec(runtime=runtime, memory=config.memory)
                self._kinds[runtime.kind, config.memory] = PrewarmedKind(spec, config, config.count)
        self._starts: set[asyncio.Task[None]] = set()
        self._closed = False

    def kind_of(self, spec: ContainerSpec) -> PrewarmedKind | None:
        """Return those that can be taken for a container: of exactly its kind and memory (spec 10.2)."""
        return self._kinds.get((spec.runtime.kind, spec.memory))

    def take(self, kind: PrewarmedKind) -> PooledContainer | None:
        """Take the one that is the soonest to expire."""
        container = next(iter(kind.ready), None)
        if container is not None:
            self._containers.prewarmed.discard(container)
            self._containers.spare.set()
            kind.deaths = 0
        return container

    async def run(self, interval: float) -> None:
        """Start what is missing, now and whenever something changes; adjust to the demand every `interval` seconds.

        What is due is decided by one reading of the clock. With one for what is started and a later one for how long to
        sleep, a retry that came due in between was forgotten until the next adjustment (timers ring a little early).
        """
        adjust_at = self._clock() + interval
        while self._kinds:
            now = self._clock()
            if now >= adjust_at:
                self.adjust(now)
                adjust_at = now + interval
            self.backfill(now)
            retries = [kind.retry_at for kind in self._kinds.values() if kind.missing > 0 and kind.retry_at > now]
            with suppress(TimeoutError):
                async with asyncio.timeout(min([adjust_at, *retries]) - now):
                    await self._containers.spare.wait()
            self._containers.spare.clear()

    def adjust(self, now: float) -> None:
        """Remove what has expired, of which only reactive ones have an end, and follow the demand (spec 10.6.3)."""
        expired = [
            container
            for kind in self._kinds.values()
            if (reactive := kind.config.reactive) is not None
            for container in kind.ready
            if now - container.born >= reactive.ttl
        ]
        for container in sorted(expired, key=lambda one: one.born)[:EXPIRED_AT_ONCE]:
            self._containers.prewarmed.discard(container)
            self._containers.remove(container)
        for kind in self._kinds.values():
            kind.adjust()

    def backfill(self, now: float) -> None:
        """Start what is missing and fits."""
        for kind in self._kinds.values():
            while kind.missing > 0 and now >= kind.retry_at and not self._closed:
                lack = self._containers.reserve_spare(kind.config.memory)
                if lack is not None:
                    if lack is not WaitReason.STARTS:
                        kind.skip(lack)
                    break
                container = self._containers.factory.container(kind.spec, partial(self._gone, kind), prewarmed=True)
                self._containers.being_created(container)
                kind.starting.add(container)
                start = self._containers.tasks.create_task(self._start(kind, container), name="prewarmed container")
                self._starts.add(start)
                start.add_done_callback(partial(self._ended, kind, container))

    async def close(self) -> None:
        """Start no more, and wait for the starts under way."""
        self._closed = True
        for start in self._starts:
            start.cancel()
        while self._starts:
            await asyncio.wait(self._starts)

    def snapshot(self) -> Iterator[PrewarmSnapshot]:
        """Return what operators see."""
        for kind in self._kinds.values():
            yield PrewarmSnapshot(
                kind=kind.spec.runtime.kind,
                memory=kind.config.memory,
                wanted=kind.wanted,
                ready=len(kind.ready),
                starting=len(kind.starting),
                failure=kind.failure,
            )

    async def _start(self, kind: PrewarmedKind, container: PooledContainer) -> None:
        try:
            await self._containers.factory.create(container)
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            self._failed(kind, container, error)
            return
        finally:
            kind.starting.discard(container)  # in the step in which it is ready: nobody must see it counted twice
        kind.failures, kind.failure, kind.skipped = 0, None, False
        self._containers.created(container, State.PREWARMED)
        if container.gone:
            self._died(kind, container)
        else:
            self._containers.keep_prewarmed(container, kind.ready)

    def _ended(self, kind: PrewarmedKind, container: PooledContainer, start: asyncio.Task[None]) -> None:
        """A start has ended in any way; if it was cancelled, perhaps before it began."""
        self._starts.discard(start)
        kind.starting.discard(container)
        if start.cancelled():
            self._containers.release(container)
        self._containers.spare.set()

    def _failed(self, kind: PrewarmedKind, container: PooledContainer, error: Exception) -> None:
        kind.failure = str(error)
        if isinstance(error, NoRoom):
            self._containers.no_room(container)
            return
        now = self._clock()
        if now >= kind.retry_at:
            kind.failures += 1
            kind.put_off(now, kind.failures)
        what = f"{kind.spec.runtime.kind} container of {container.memory >> 20} MB"
        trace = None if isinstance(error, ContainerError) else error
        pause = kind.retry_at - now
        logger.warning("no %s could be prewarmed, next try in %g s: %s", what, pause, error, exc_info=trace)
        self._containers.release(container)

    def _gone(self, kind: PrewarmedKind, container: PooledContainer) -> None:
        """A container that was prewarmed has ended by itself, taken or not."""
        if self._containers.prewarmed.discard(container):
            self._died(kind, container)
        else:
            self._containers.gone(container)

    def _died(self, kind: PrewarmedKind, container: PooledContainer) -> None:
        """Put off the next start: an image that ends at once must not be started again at once (spec T77)."""
        self._containers.remove(container)
        now = self._clock()
        if now >= kind.retry_at:
            kind.deaths = 1 if now - container.born >= LAST_RETRY else kind.deaths + 1
            kind.put_off(now, kind.deaths)
        kind.failure = f"{container.name} ended by itself"
        logger.warning("prewarmed container %s, next start in %g s", kind.failure, kind.retry_at - now)
        self._containers.spare.set()
