"""Prewarmed containers: as many of each kind and memory as the manifest wants (spec 10.6)."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import PrewarmConfig, Runtimes
from invoker.errors import ContainerError, NoRoom
from invoker.pool.container import PooledContainer, State, name_of
from invoker.pool.idle import Kind, kind_of
from invoker.pool.lifecycle import Containers
from invoker.pool.snapshot import PrewarmSnapshot, WaitReason

logger = logging.getLogger("invoker.pool")

FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0
"""Seconds after a failed start until the next, doubled from the first until the last (spec T77)."""
_DOUBLINGS: Final = 6
"""From the first to the last."""
EXPIRED_AT_ONCE: Final = 100
"""Removed at most in one adjustment (spec 10.6.3)."""


@dataclass(eq=False)
class PrewarmedKind:
    """The prewarmed containers of one kind and memory: how many there are to be, and what went wrong."""

    spec: ContainerSpec
    """Of each; only the last part of its name, and no environment."""
    config: PrewarmConfig
    ready: OrderedDict[PooledContainer, None]
    """See `PrewarmedPool.of`."""
    wanted: int = field(init=False)
    starting: set[PooledContainer] = field(default_factory=set)
    cold_starts: int = 0
    """Since the last adjustment."""
    failures: int = 0
    """Starts that failed, in a row; those under way at the same time are one."""
    deaths: int = 0
    """Containers that ended by themselves before long, in a row; likewise."""
    failure: str | None = None
    retry_at: float = 0.0
    skipped: bool = False
    """Said already that memory, or room, is missing."""

    def __post_init__(self) -> None:
        self.wanted = self.config.count

    @property
    def missing(self) -> int:
        """How many are to be started."""
        return self.wanted - len(self.ready) - len(self.starting)

    def put_off(self, now: float, times: int) -> None:
        """Start no more for a while: something went wrong `times` in a row."""
        self.retry_at = now + min(FIRST_RETRY * 2 ** min(times - 1, _DOUBLINGS), LAST_RETRY)

    def adjust(self) -> None:
        """Follow the demand (spec 10.6.3 b and d)."""
        reactive = self.config.reactive
        if reactive is not None:
            asked = self.cold_starts // reactive.threshold * reactive.increment
            self.wanted = min(max(reactive.min_count, asked), reactive.max_count)
        self.cold_starts = 0


class Prewarmer:
    """Starts prewarmed containers while there is memory and nobody waits for it."""

    def __init__(
        self, runtimes: Runtimes, containers: Containers, tasks: asyncio.TaskGroup, clock: Callable[[], float]
    ) -> None:
        self._containers = containers
        self._kinds: dict[Kind, PrewarmedKind] = {}
        for runtime in runtimes:
            for config in runtime.prewarm:
                spec = ContainerSpec(name=name_of("prewarm", runtime.kind), runtime=runtime, memory=config.memory)
                ready = containers.prewarmed.of(kind_of(spec))
                self._kinds[kind_of(spec)] = PrewarmedKind(spec, config, ready)
        self._tasks = tasks
        self._clock = clock
        self._starts: set[asyncio.Task[None]] = set()
        self._closed = False

    def has(self, spec: ContainerSpec) -> bool:
        """Say whether there is one to take."""
        kind = self._kinds.get(kind_of(spec))
        return kind is not None and bool(kind.ready)

    def take(self, spec: ContainerSpec) -> PooledContainer | None:
        """Take one of exactly this kind and memory, the soonest to expire (spec 10.2)."""
        kind = self._kinds.get(kind_of(spec))
        container = None if kind is None else next(iter(kind.ready), None)
        if kind is not None and container is not None:
            self._containers.prewarmed.discard(container)
            self._containers.spare.set()
            kind.deaths = 0
        return container

    def missed(self, spec: ContainerSpec) -> None:
        """Count a cold start that one would have spared (spec 10.6.5)."""
        kind = self._kinds.get(kind_of(spec))
        if kind is not None:
            kind.cold_starts += 1

    async def run(self, interval: float) -> None:
        """Start what is missing, now and whenever something changes; adjust to the demand every `interval` seconds.

        What is due is decided by one reading of the clock. With one for what is started and a later one for how long to
        sleep, a retry that came due in between was forgotten until the next adjustment (timers ring a little early).
        """
        if not self._kinds:
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
                    self._skip(kind, lack)
                    break
                container = self._containers.factory.container(kind.spec, partial(self._gone, kind), prewarmed=True)
                self._containers.all[container] = None
                kind.starting.add(container)
                start = self._tasks.create_task(self._start(kind, container), name="prewarmed container")
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
        except NoRoom as error:
            kind.failure = str(error)
            self._containers.no_room()
            self._containers.let_go(container)
            self._containers.came_free()
            return
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            self._failed(kind, container, error)
            return
        finally:
            kind.starting.discard(container)  # in the step in which it is ready: nobody must see it counted twice
        kind.failures = 0
        kind.failure = None
        kind.skipped = False
        self._containers.created(container, State.PREWARMED)
        if container.gone:
            self._containers.remove(container)
            self._died(kind, container)
            return
        self._containers.prewarmed_ready(container)

    def _ended(self, kind: PrewarmedKind, container: PooledContainer, start: asyncio.Task[None]) -> None:
        """A start has ended in any way; if it was cancelled, perhaps before it began."""
        self._starts.discard(start)
        kind.starting.discard(container)
        if start.cancelled():
            self._containers.let_go(container)
            self._containers.came_free()
        self._containers.spare.set()

    def _failed(self, kind: PrewarmedKind, container: PooledContainer, error: Exception) -> None:
        now = self._clock()
        if now >= kind.retry_at:
            kind.failures += 1
            kind.put_off(now, kind.failures)
        kind.failure = str(error)
        logger.warning(
            "no %s container of %d MB could be prewarmed, next try in %g s: %s",
            kind.spec.runtime.kind,
            container.memory >> 20,
            kind.retry_at - now,
            error,
            exc_info=None if isinstance(error, ContainerError) else error,
        )
        self._containers.let_go(container)
        self._containers.came_free()

    def _gone(self, kind: PrewarmedKind, container: PooledContainer) -> None:
        """A container that was prewarmed has ended by itself, taken or not."""
        if not self._containers.prewarmed.discard(container):
            self._containers.gone(container)
            return
        self._containers.remove(container)
        self._died(kind, container)

    def _died(self, kind: PrewarmedKind, container: PooledContainer) -> None:
        """Put off the next start: an image that ends at once must not be started again at once (spec T77)."""
        now = self._clock()
        if now >= kind.retry_at:
            kind.deaths = 1 if now - container.born >= LAST_RETRY else kind.deaths + 1
            kind.put_off(now, kind.deaths)
        kind.failure = f"{container.name} ended by itself"
        logger.warning(
            "prewarmed container %s ended by itself, next start in %g s", container.name, kind.retry_at - now
        )
        self._containers.spare.set()

    def _skip(self, kind: PrewarmedKind, lack: WaitReason) -> None:
        if not kind.skipped:
            kind.skipped = True
            logger.info(
                "no %s for %d prewarmed %s containers of %d MB",
                lack.value,
                kind.missing,
                kind.spec.runtime.kind,
                kind.config.memory >> 20,
            )

    def _next_due(self, now: float, adjust_at: float) -> float:
        """Clock's time at which there is something to do that nobody tells."""
        retries = (one.retry_at for one in self._kinds.values() if one.missing > 0 and one.retry_at > now)
        return min((adjust_at, *retries))
