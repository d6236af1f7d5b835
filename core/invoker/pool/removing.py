"""Removing containers, off everybody's way."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from invoker.pool.slot import Slot

GRACE: Final = 5.0
"""Seconds for which stopping waits for removals: the runtime, which closes next, has a limit of its own for others."""

logger = logging.getLogger("invoker.pool")


class Remover:
    """Runs one task for each container that is removed. Owned by the pool."""

    def __init__(self, tasks: asyncio.TaskGroup, on_removed: Callable[[Slot], None]) -> None:
        self._tasks = tasks
        self._on_removed = on_removed
        self._removals: set[asyncio.Task[None]] = set()
        self.memory = 0
        """Bytes of containers whose removal is under way."""

    def remove(self, slot: Slot) -> None:
        """Begin to remove a container that nobody will be given any more."""
        self.memory += slot.memory
        removal = self._tasks.create_task(self._removal(slot), name="container removal")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def done(self) -> None:
        """Wait until all removals have ended; those that a runtime can't do now are given up."""
        if self._removals:
            _, late = await asyncio.wait(self._removals, timeout=GRACE)
            for removal in late:
                removal.cancel()

    async def _removal(self, slot: Slot) -> None:
        assert slot.container is not None  # noqa: S101 (only what was created is removed)
        try:
            if slot.transition is not None:  # no daemon likes to be asked for both at once
                await asyncio.wait({slot.transition})
            await slot.container.remove()
        except Exception:  # a plugin's failure must not end the pool; the runtime removes what is left when it closes
            logger.exception("container %s could not be removed", slot.name)
        finally:
            self.memory -= slot.memory
            self._on_removed(slot)
