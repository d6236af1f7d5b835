"""Containers that nobody uses: to be used again, to be paused meanwhile, to make room for others."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeAlias

from invoker.config import PoolSettings
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
"""Kind and memory."""


class FreePool:
    """Idle containers, in the order in which they became idle. Each is in its action's list, too."""

    def __init__(self) -> None:
        self._oldest_first: OrderedDict[PooledContainer, ActionContainers] = OrderedDict()
        self.unpaused: OrderedDict[PooledContainer, float] = OrderedDict()
        """Those that could be paused, with the time since which they could."""
        self.memory = 0
        """Bytes of all of them."""

    def __iter__(self) -> Iterator[PooledContainer]:
        return iter(self._oldest_first)

    def put(self, action: ActionContainers, container: PooledContainer) -> None:
        """Take a container that just became idle."""
        action.idle[container] = None
        self._oldest_first[container] = action
        self.memory += container.memory
        if container.may_pause:
            self.may_pause(container, container.since)

    def may_pause(self, container: PooledContainer, since: float) -> None:
        """Note since when a container could be paused, if it is idle and can be."""
        if container.may_pause and not container.paused and container in self._oldest_first:
            self.unpaused[container] = since

    def take_newest(self, action: ActionContainers) -> PooledContainer | None:
        """Take the container of an action that became idle last."""
        container = next(reversed(action.idle), None)
        if container is not None:
            self.discard(container)
        return container

    def oldest(self) -> PooledContainer | None:
        """Look at the container that has been idle longest, whatever its action."""
        return next(iter(self._oldest_first), None)

    def discard(self, container: PooledContainer) -> None:
        """Take a container out, if it is there."""
        action = self._oldest_first.pop(container, None)
        if action is not None:
            del action.idle[container]
            self.memory -= container.memory
            if container.may_pause:
                self.unpaused.pop(container, None)


class PrewarmedPool:
    """Containers that are ready for any action of their kind and memory."""

    def __init__(self) -> None:
        self._oldest_first: dict[Kind, OrderedDict[PooledContainer, None]] = {}
        self.memory = 0
        """Bytes of all of them."""

    def of(self, kind: Kind) -> OrderedDict[PooledContainer, None]:
        """Return those of one kind and memory: the one that was ready first comes first, for it expires soonest."""
        return self._oldest_first.setdefault(kind, OrderedDict())

    def put(self, container: PooledContainer) -> None:
        """Take a container that is ready."""
        self.of(kind_of(container.spec))[container] = None
        self.memory += container.memory

    def any(self) -> PooledContainer | None:
        """Look at one of any kind."""
        return next((next(iter(ready)) for ready in self._oldest_first.values() if ready), None)

    def discard(self, container: PooledContainer) -> bool:
        """Take a container out; return whether it was there."""
        ready = self.of(kind_of(container.spec))
        if container not in ready:
            return False
        del ready[container]
        self.memory -= container.memory
        return True


def kind_of(spec: ContainerSpec) -> Kind:
    """Return what a prewarmed container must have in common with one that is wanted (spec 10.2)."""
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
            container.paused = True
            pause = self._begin(container, State.PAUSING, self._pause(container))
            self._pausing.add(pause)
            pause.add_done_callback(self._pausing.discard)

    def close(self) -> None:
        """Give up the pauses that a runtime can't do now: nobody waits for them any more."""
        for pause in self._pausing:
            pause.cancel()

    async def resume(self, container: PooledContainer) -> None:
        """Resume a container that somebody was given; several may be, at the same time (spec 10.12.1).

        Raises:
            Unreachable: it can't be resumed; another may serve (spec 9.8.1).
        """
        while container.transition is not None or container.paused:
            transition = container.transition or self._begin(container, State.RESUMING, self._resume(container))
            await asyncio.wait({transition})  # a task of its own: who waits may be cancelled while others go on
            if (failure := transition.result()) is not None and container.paused:
                raise Unreachable(f"{container.name} can't be resumed: {failure}")
        if container.state is not State.BUSY:
            container.enter(State.BUSY, self._clock())

    def _begin(
        self, container: PooledContainer, state: State, work: Coroutine[Any, Any, str | None]
    ) -> asyncio.Task[str | None]:
        container.state = state
        container.transition = self._tasks.create_task(work, name=f"container {state.value}")
        return container.transition

    async def _resume(self, pooled: PooledContainer) -> str | None:
        """Return why it failed, if it did."""
        assert pooled.container is not None  # noqa: S101 (it was paused)
        failure = None
        try:
            await pooled.container.resume()
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            failure = str(error)
        else:
            pooled.paused = False
        pooled.transition = None
        return failure

    async def _pause(self, pooled: PooledContainer) -> str | None:
        """Return why it failed, if it did: that costs nobody anything."""
        assert pooled.container is not None  # noqa: S101 (it has served)
        failure = None
        try:
            await pooled.container.pause()
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
