"""Pausing containers that nobody uses, and resuming them (spec 10.10)."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from invoker.config import PoolSettings
from invoker.contracts import Pausable
from invoker.errors import ContainerError, Unreachable
from invoker.pool.slot import Slot, State

logger = logging.getLogger("invoker.pool")

AT_ONCE: Final = 4
"""Pauses under way; a burst that ends must not keep the daemon from what somebody waits for."""
TRIES: Final = 3
"""A container that refuses so often to be paused stays as it is."""


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
        self._pausing: set[asyncio.Task[None]] = set()

    def freeze(self) -> None:
        """Pause those whose grace is over, the oldest first."""
        if not self._settings.pause:
            return
        before = self._clock() - self._settings.pause_grace
        for slot in self._idle:
            if slot.since > before or len(self._pausing) >= AT_ONCE:
                return
            if not slot.frozen and slot.pause_failures < TRIES and isinstance(slot.container, Pausable):
                slot.frozen = True
                slot.state = State.PAUSING
                slot.transition = self._tasks.create_task(self._pause(slot, slot.container), name="container pause")
                self._pausing.add(slot.transition)
                slot.transition.add_done_callback(self._pausing.discard)

    async def thaw(self, slot: Slot) -> None:
        """Resume a container that somebody was given.

        Raises:
            Unreachable: it can't be resumed; another may serve (spec 9.8.1).
        """
        if slot.transition is not None:
            await asyncio.wait({slot.transition})
        if slot.frozen:
            assert isinstance(slot.container, Pausable)  # noqa: S101 (it was paused)
            slot.state = State.RESUMING
            try:
                await slot.container.resume()
            except ContainerError as error:
                raise Unreachable(f"{slot.spec.name} can't be resumed: {error}") from error
            slot.frozen = False
        slot.state = State.BUSY

    async def _pause(self, slot: Slot, container: Pausable) -> None:
        try:
            await container.pause()
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not end the pool)
            logger.info("container %s could not be paused: %s", slot.spec.name, error)
            slot.frozen = False
            slot.pause_failures += 1
        slot.transition = None
        if slot.state is State.PAUSING:
            slot.state = State.PAUSED if slot.frozen else State.IDLE
        asyncio.get_running_loop().call_soon(self.freeze)  # this one is still counted
