"""The pool: the only way to a container."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from invoker.config import LimitsSettings, NodeSettings, PoolSettings
from invoker.contracts import Container, ContainerRuntime, LogExtractor
from invoker.entities.activation import Outcome
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.entities.runtimes import Runtimes
from invoker.pool.actions import ActionContainers
from invoker.pool.container import ContainerFactory, ContainerLogs, PooledContainer, State
from invoker.pool.scheduler import Scheduler
from invoker.pool.snapshot import ContainerSnapshot, PoolSnapshot, StartReason


@dataclass(eq=False, slots=True)
class Lease:
    """The use of a container, or of a share of one, for one activation: `async with pool.lease(…) as lease`.

    Entering waits for a warm container, or for the memory to start one, and then for its start. Leaving returns the
    share to the pool if `keep` was set, and has the container removed otherwise: whatever breaks in between, nobody is
    given a container in an unknown state.
    """

    _scheduler: Scheduler
    _executable: Executable
    _request: Request
    _moved: bool
    keep: bool = False
    """Set it when the container may serve again."""
    why: StartReason = StartReason.DIED
    """What is said of a container that is not kept."""
    warm: bool = True
    """Whether the container had been initialised for this action before."""
    prewarmed: bool = False
    """Whether it is a prewarmed one that was taken for this activation."""
    reason: StartReason | None = None
    """Why it is not warm."""
    container: Container = field(init=False)
    logs: ContainerLogs = field(init=False)
    """The container's, which become this activation's."""
    _action: ActionContainers = field(init=False)
    _pooled: PooledContainer = field(init=False)
    _since: float | None = field(init=False)  # clock's time from which, initialised, it is there for this activation

    async def __aenter__(self) -> Self:
        """Get a container.

        Raises:
            StartFailed: none could be started, whether by this activation or by another that it waited for.
            Unreachable: one could not be resumed, or was never initialised; another may serve.
            Aborted: another activation initialised it, and that failed (spec 10.12.2).
        """
        scheduler, request = self._scheduler, self._request
        key = (self._executable.function.digest, request.caller.namespace, request.function.binding)
        self._since = now = scheduler.clock()
        action = scheduler.containers.actions.get(key)
        pooled = None if action is None else scheduler.take_warm(action, now)
        if action is None or pooled is None:
            action, pooled, self.reason = await scheduler.obtain(key, self._executable, moved=self._moved)
            self.warm = self.reason is None
            self._since = scheduler.clock() if self.warm else None
        self._action = action
        self._pooled = pooled
        if pooled.paused:
            try:
                await scheduler.pauser.resume(pooled)
            except BaseException:
                scheduler.give_back(action, pooled, keep=False, since=None, first=False)
                raise
            self._since = scheduler.clock()
        assert pooled.container is not None  # noqa: S101 (what is lent was created)
        self.prewarmed = pooled.prewarmed and not self.warm
        self.container = pooled.container
        self.logs = pooled.logs
        return self

    def initialised(self, outcome: Outcome | None) -> None:
        """Tell how `/init` ended, `None` for success: others may wait for it."""
        self._scheduler.initialised(self._action, self._pooled, outcome)
        if outcome is None:
            self._since = self._scheduler.clock()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return the share, or have the container removed. Doesn't wait for the removal."""
        pooled = self._pooled
        keep = self.keep and pooled.initialised
        scheduler, first = self._scheduler, not self.warm
        scheduler.give_back(self._action, pooled, keep=keep, why=self.why, since=self._since, first=first)


class Pool:
    """Gives containers to activations, by way of leases, and shows operators what it does."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._containers = scheduler.containers
        self.starts = scheduler.starts
        """Activations that were not served by a warm container, by reason."""
        self.waits = scheduler.waits
        """Activations that had to wait, by reason; one that had several counts for each."""

    def lease(self, executable: Executable, request: Request, *, moved: bool = False) -> Lease:
        """Return the way to a container for one activation; `moved` if one before did not take it."""
        return Lease(self._scheduler, executable, request, moved)

    async def peak_memory(self) -> int | None:
        """Return the most memory that any living container has used, in bytes, where the runtime can tell."""
        states = [await one.container.inspect() for one in list(self._containers.all) if one.container is not None]
        return max((state.peak_memory for state in states if state.peak_memory is not None), default=None)

    @property
    def memory_used(self) -> int:
        """Bytes of all containers, those that are being started or removed included."""
        return self._containers.used

    @property
    def waiting(self) -> int:
        """Activations that wait for a container."""
        return self._scheduler.queue.length

    def count(self, state: State) -> int:
        """Return how many containers are in `state`."""
        return sum(container.state is state for container in self._containers.all)

    def snapshot(self) -> PoolSnapshot:
        """Return what operators see."""
        scheduler, containers = self._scheduler, self._containers
        shown = sorted(containers.all.items(), key=lambda item: item[0].born)
        return PoolSnapshot(
            memory=int(containers.settings.memory),
            used=containers.used,
            waiting=self.waiting,
            containers=tuple(_shown(container, action, scheduler.clock()) for container, action in shown),
            actions=tuple(action.snapshot() for action in containers.actions.values()),
            prewarmed=tuple(scheduler.prewarmer.snapshot()),
            starts={reason.value: number for reason, number in self.starts.items()},
            waits={reason.value: number for reason, number in self.waits.items()},
            recent=tuple(scheduler.recent),
        )


def _shown(container: PooledContainer, action: ActionContainers | None, now: float) -> ContainerSnapshot:
    return ContainerSnapshot(
        name=container.name,
        state=container.state.value,
        kind=container.spec.runtime.kind,
        memory=container.memory,
        namespace="" if action is None else action.spec.namespace,
        action="" if action is None else action.spec.action,
        activations=container.active,
        served=container.served,
        age=now - container.born,
        since=now - container.since,
        reason=None if container.reason is None else container.reason.value,
    )


@asynccontextmanager
async def container_pool(  # noqa: PLR0913
    runtime: ContainerRuntime,
    logs: LogExtractor,
    settings: PoolSettings,
    *,
    node: NodeSettings,
    limits: LimitsSettings,
    runtimes: Runtimes,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Pool]:
    """Run a pool; leaving removes every container. Leases must have ended by then.

    `runtimes` says which containers are started before anybody asks for them.
    """
    async with asyncio.TaskGroup() as tasks:
        scheduler = Scheduler(ContainerFactory(runtime, logs, node, limits, clock), settings, runtimes, tasks)
        upkeep = (
            tasks.create_task(_sweep(scheduler, settings), name="idle containers"),
            tasks.create_task(scheduler.prewarmer.run(settings.prewarm_interval), name="prewarmed containers"),
        )
        try:
            yield Pool(scheduler)
        finally:  # drain inside the group: a group that is left by an exception cancels its tasks
            for task in upkeep:
                task.cancel()
            await scheduler.close()


async def _sweep(scheduler: Scheduler, settings: PoolSettings) -> None:
    """Remove containers that have been idle for too long, pause those that have been for a while (spec 10.1)."""
    shortest = min(settings.idle_timeout, settings.pause_grace) if settings.pause else settings.idle_timeout
    while True:
        await asyncio.sleep(min(shortest / 4, 60))
        while scheduler.containers.remove_expired():  # noqa: ASYNC110 (the rest, a turn of the event loop later)
            await asyncio.sleep(0)
        scheduler.pauser.pause_idle()
