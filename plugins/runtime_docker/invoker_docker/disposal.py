"""Getting rid of containers, however long the engine takes to do it."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from invoker_docker.answers import EngineDown, EngineError
from invoker_docker.engine import Engine
from invoker_docker.health import Health

AT_ONCE: Final = 8
"""Removals at the same time. 50 containers on two cores: 2.4 s so, 2.6 s with 16 at once, 3.1 s with all."""
FIRST_PAUSE: Final = 0.05
LAST_PAUSE: Final = 5.0
"""Seconds between tries: doubled from the first, until the last. An engine that comes back ends the pause."""

logger = logging.getLogger("invoker.docker")


class Disposal:
    """Removes what it is given. Each removal is a task of the group given; only success and cancellation end it."""

    def __init__(
        self, engine: Engine, health: Health, tasks: asyncio.TaskGroup, on_gone: Callable[[str], None]
    ) -> None:
        """`on_gone` is called with each name of which nothing is left."""
        self._engine = engine
        self._health = health
        self._tasks = tasks
        self._on_gone = on_gone
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._removals: dict[str, asyncio.Task[None]] = {}

    def remove(self, container: str, name: str) -> asyncio.Task[None]:
        """Begin to remove a container, by its id or its name; a removal that is under way is joined."""
        removal = self._removals.get(name)
        if removal is None:
            removal = self._tasks.create_task(self._remove(container, name), name=f"remove {name}")
            self._removals[name] = removal
            removal.add_done_callback(lambda ended: self._forget(name, ended))
        return removal

    def _forget(self, name: str, removal: asyncio.Task[None] | None) -> None:
        if self._removals.get(name) is removal:
            del self._removals[name]

    async def _remove(self, container: str, name: str) -> None:
        pause = FIRST_PAUSE
        told = ""
        while True:
            try:
                async with self._slots:
                    await self._engine.remove(container)
            except EngineError as error:
                self._health.doubt(error)
                if not isinstance(error, EngineDown) and error.message != told:
                    logger.warning("%s can't be removed yet: %s", name, error)
                    told = error.message
            else:
                # Before anybody knows: an older list of the engine's may have the name removed again, by a new task.
                self._forget(name, asyncio.current_task())
                self._on_gone(name)
                return
            await self._rest(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _rest(self, seconds: float) -> None:
        if self._health.up.is_set():
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._health.up.wait()
