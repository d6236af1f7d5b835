"""Containers that nobody uses: to be used again, to be paused meanwhile, to be given up for others."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from invoker.config import PoolSettings
from invoker.contracts import Container
from invoker.entities.container import ContainerSpec
from invoker.errors import Unreachable
from invoker.pool.actions import ActionContainers
from invoker.pool.container import PooledContainer, State

logger = logging.getLogger("invoker.pool")

AT_ONCE: Final = 4
"""Pauses under way; a burst that ends must not keep the daemon from what somebody waits for."""
TRIES: Final = 3
"""A container that refuses so often to be paused, once in `pool.pause_grace`, stays as it is."""

Kind: TypeAlias = tuple[str, int]
"""Kind and memory of prewarmed containers."""


class FreePool:
    """Idle containers, in the order in which they became idle. Each is in its action's list, too."""

    def __init__(self) -> None:
        self._oldest_first: OrderedDict[PooledContainer, ActionContainers] = OrderedDict()
        self.unpaused: OrderedDict[PooledContainer, float] = OrderedDict()
        """Those that could be paused, with the time since which they could."""
        self.memory = 0
        """Bytes of all of them."""

    def __len__(self) -> int:
        return len(self._oldest_first)

    def put(self, action: ActionContainers, container: PooledContainer) -> None:
        """Take a container that just became idle."""
        action.idle[container] = None
        self._oldest_first[container] = action
        self.memory += container.memory
        if container.may_pause:
            self.may_pause(container, container.since)

    def may_pause(self, container: PooledContainer, since: float) -> None:
        """Note since when a container that is idle could be paused."""
        if container.may_pause and not container.paused and container in self._oldest_first:
            self.unpaused[container] = since

    def take_newest(self, action: ActionContainers) -> PooledContainer | None:
        """Take the container of an action that became idle last."""
        if not action.idle:
            return None
        container, _ = action.idle.popitem()
        self._discard(container)
        return container

    def oldest(self) -> PooledContainer | None:
        """Look at the container that has been idle longest, whatever its action."""
        return next(iter(self._oldest_first), None)

    def take_oldest(self) -> PooledContainer | None:
        """Take the container that has been idle longest, whatever its action."""
        container = self.oldest()
        if container is not None:
            self.discard(container)
        return container

    def discard(self, container: PooledContainer) -> None:
        """Take a container out, if it is there."""
        action = self._oldest_first.get(container)
        if action is not None:
            del action.idle[container]
            self._discard(container)

    def _discard(self, container: PooledContainer) -> None:
        del self._oldest_first[container]
        self.memory -= container.memory
        if container.may_pause:
            self.unpaused.pop(container, None)


class PrewarmedPool:
    """Containers that are ready for any action of their kind and memory."""

    def __init__(self) -> None:
        self._oldest_first: dict[Kind, OrderedDict[PooledContainer, None]] = {}
        self.memory = 0
        """Bytes of all of them."""

    def put(self, container: PooledContainer) -> None:
        """Take a container that is ready."""
        self.of(kind_of(container.spec))[container] = None
        self.memory += container.memory

    def of(self, kind: Kind) -> OrderedDict[PooledContainer, None]:
        """Return those of one kind and memory: the one that was ready first comes first, for it expires soonest."""
        return self._oldest_first.setdefault(kind, OrderedDict())

    def take(self, kind: Kind) -> PooledContainer | None:
        """Take one of exactly this kind and memory, the soonest to expire (spec 10.2)."""
        container = next(iter(self.of(kind)), None)
        if container is not None:
            self.discard(container)
        return container

    def take_any(self) -> PooledContainer | None:
        """Take one to make room: an action that is asked for comes before one that may be (spec T78)."""
        kind = next((kind for kind, ready in self._oldest_first.items() if ready), None)
        return None if kind is None else self.take(kind)

    def discard(self, container: PooledContainer) -> bool:
        """Take a container out; return whether it was there."""
        ready = self.of(kind_of(container.spec))
        if container not in ready:
            return False
        del ready[container]
        self.memory -= container.memory
        return True


def kind_of(spec: ContainerSpec) -> Kind:
    """Return what a prewarmed container must have in common with one that is wanted."""
    return spec.runtime.kind, spec.memory


class Pauser:
    """Pauses containers that are idle for `pool.pause_grace`, and resumes them (spec 10.10)."""

    def __init__(
        self, settings: PoolSettings, free: FreePool, tasks: asyncio.TaskGroup, clock: Callable[[], float]
    ) -> None:
        self._grace = settings.pause_grace
        self._free = free
        self._tasks = tasks
        self._clock = clock
        self._pausing: set[asyncio.Task[str | None]] = set()

    def pause_idle(self) -> None:
        """Pause those whose grace is over, the oldest first."""
        before = self._clock() - self._grace
        while self._free.unpaused and len(self._pausing) < AT_ONCE:
            container, since = next(iter(self._free.unpaused.items()))
            if since > before:
                return
            del self._free.unpaused[container]
            assert container.container is not None  # noqa: S101 (it has served)
            container.paused = True
            container.state = State.PAUSING
            container.transition = self._tasks.create_task(
                self._pause(container, container.container), name="container pause"
            )
            self._pausing.add(container.transition)
            container.transition.add_done_callback(self._pausing.discard)

    def close(self) -> None:
        """Give up the pauses that a runtime can't do now: nobody waits for them any more."""
        for pause in self._pausing:
            pause.cancel()

    async def resume(self, container: PooledContainer) -> None:
        """Resume a container that somebody was given; several may be, at the same time (spec 10.12.1).

        Raises:
            Unreachable: it can't be resumed; another may serve (spec 9.8.1).
        """
        while (transition := container.transition or self._resumption(container)) is not None:
            await asyncio.wait({transition})  # a task of its own: who waits may be cancelled while others go on
            if (failure := transition.result()) is not None and container.paused:
                raise Unreachable(f"{container.name} can't be resumed: {failure}")
        if container.state is not State.BUSY:
            container.state = State.BUSY
            container.since = self._clock()

    def _resumption(self, container: PooledContainer) -> asyncio.Task[str | None] | None:
        """Begin to resume a container, unless it runs."""
        if not container.paused:
            return None
        assert container.container is not None  # noqa: S101 (it was paused)
        container.state = State.RESUMING
        container.transition = self._tasks.create_task(
            self._resume(container, container.container), name="container resumption"
        )
        return container.transition

    async def _resume(self, pooled: PooledContainer, container: Container) -> str | None:
        """Return why it failed, if it did."""
        failure = None
        try:
            await container.resume()
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            failure = str(error)
        else:
            pooled.paused = False
        pooled.transition = None
        return failure

    async def _pause(self, pooled: PooledContainer, container: Container) -> str | None:
        """Return why it failed, if it did."""
        failure = None
        try:
            await container.pause()
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            logger.info("container %s could not be paused: %s", pooled.name, error)
            failure = str(error)
            pooled.paused = False
            pooled.pause_failures += 1
            pooled.may_pause = pooled.pause_failures < TRIES
        pooled.transition = None
        if pooled.state is State.PAUSING:
            pooled.state = State.PAUSED if pooled.paused else State.IDLE
            self._free.may_pause(pooled, self._clock())
        asyncio.get_running_loop().call_soon(self.pause_idle)  # this one is still counted
        return failure
