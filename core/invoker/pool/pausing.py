"""Pausing containers that nobody uses, and resuming them (spec 10.10)."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from invoker.errors import Unreachable
from invoker.pool.container import PooledContainer, State
from invoker.pool.lifecycle import Containers

logger = logging.getLogger("invoker.pool")

AT_ONCE: Final = 4
"""Pauses under way; a burst that ends must not keep the daemon from what somebody waits for."""
TRIES: Final = 3
"""A container that refuses so often to be paused, once in `pool.pause_grace`, stays as it is."""

Work: TypeAlias = Coroutine[Any, Any, str | None]


@dataclass(eq=False)
class Pauser:
    """Pauses containers that are idle for `pool.pause_grace`, and resumes them."""

    containers: Containers
    _pausing: set[asyncio.Task[str | None]] = field(default_factory=set)

    def pause_idle(self) -> None:
        """Pause those whose grace is over, the oldest first."""
        free = self.containers.free
        before = self.containers.clock() - self.containers.settings.pause_grace
        while free.unpaused and len(self._pausing) < AT_ONCE:
            container, since = next(iter(free.unpaused.items()))
            if since > before:
                return
            del free.unpaused[container]
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
            container.enter(State.BUSY, self.containers.clock())

    def _begin(self, container: PooledContainer, state: State, work: Work) -> asyncio.Task[str | None]:
        container.state = state
        container.transition = self.containers.tasks.create_task(work, name=f"container {state.value}")
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
            self.containers.free.may_pause(pooled, self.containers.clock())
        asyncio.get_running_loop().call_soon(self.pause_idle)  # this one is still counted
        return failure
