"""Pausing containers that nobody uses, and resuming them (spec 10.10)."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from invoker.config import PoolSettings
from invoker.contracts import Container
from invoker.errors import Unreachable
from invoker.pool.slot import Slot, State

logger = logging.getLogger("invoker.pool")

AT_ONCE: Final = 4
"""Pauses under way; a burst that ends must not keep the daemon from what somebody waits for."""
TRIES: Final = 3
"""A container that refuses so often to be paused, once in `pool.pause_grace`, stays as it is."""


class Freezer:
    """Pauses what is idle for `pool.pause_grace`. A pause that is refused costs nobody anything."""

    def __init__(
        self, settings: PoolSettings, idle: Iterable[Slot], tasks: asyncio.TaskGroup, clock: Callable[[], float]
    ) -> None:
        """`idle` is looked at anew each time; the one that has been idle longest comes first."""
        self._settings = settings
        self._idle = idle
        self._tasks = tasks
        self._clock = clock
        self._pausing: set[asyncio.Task[str | None]] = set()

    def freeze(self) -> None:
        """Pause those whose grace is over, the oldest first."""
        if not self._settings.pause:
            return
        before = self._clock() - self._settings.pause_grace
        for slot in self._idle:
            if slot.since > before or len(self._pausing) >= AT_ONCE:
                return
            if slot.frozen or slot.pause_failures >= TRIES or slot.refused_at > before:
                continue
            if slot.container is not None and slot.container.pausable:
                slot.frozen = True
                slot.state = State.PAUSING
                slot.transition = self._tasks.create_task(self._pause(slot, slot.container), name="container pause")
                self._pausing.add(slot.transition)
                slot.transition.add_done_callback(self._pausing.discard)

    def close(self) -> None:
        """Give up the pauses that a runtime can't do now: nobody waits for them any more."""
        for pause in self._pausing:
            pause.cancel()

    async def thaw(self, slot: Slot) -> None:
        """Resume a container that somebody was given; several may be, at the same time (spec 10.12.1).

        Raises:
            Unreachable: it can't be resumed; another may serve (spec 9.8.1).
        """
        while (transition := slot.transition or self._resumption(slot)) is not None:
            await asyncio.wait({transition})  # a task of its own: who waits may be cancelled while others go on
            if (failure := transition.result()) is not None and slot.frozen:
                raise Unreachable(f"{slot.name} can't be resumed: {failure}")
        if slot.state is not State.BUSY:
            slot.state = State.BUSY
            slot.since = self._clock()

    def _resumption(self, slot: Slot) -> asyncio.Task[str | None] | None:
        """Begin to resume a container, unless it runs."""
        if not slot.frozen:
            return None
        assert slot.container is not None  # noqa: S101 (it was paused)
        slot.state = State.RESUMING
        slot.transition = self._tasks.create_task(self._resume(slot, slot.container), name="container resumption")
        return slot.transition

    async def _resume(self, slot: Slot, container: Container) -> str | None:
        """Return why it failed, if it did."""
        failure = None
        try:
            await container.resume()
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            failure = str(error)
        else:
            slot.frozen = False
        slot.transition = None
        return failure

    async def _pause(self, slot: Slot, container: Container) -> str | None:
        """Return why it failed, if it did."""
        failure = None
        try:
            await container.pause()
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            logger.info("container %s could not be paused: %s", slot.name, error)
            failure = str(error)
            slot.frozen = False
            slot.pause_failures += 1
            slot.refused_at = self._clock()
        slot.transition = None
        if slot.state is State.PAUSING:
            slot.state = State.PAUSED if slot.frozen else State.IDLE
        asyncio.get_running_loop().call_soon(self.freeze)  # this one is still counted
        return failure
