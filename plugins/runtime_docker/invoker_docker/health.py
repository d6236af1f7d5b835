"""Whether the engine lives: it is asked again and again, so that nobody else has to find out."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from invoker.errors import StartFailed
from invoker_docker.engine import EngineClient
from invoker_docker.failures import EngineDown, EngineError

logger = logging.getLogger("invoker.docker")


class EngineHealth:
    """What is known of the engine. `watch` finds it out; each call without an answer is a reason to look at once."""

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine
        self._watching: asyncio.Task[None] | None = None
        self._doubted = asyncio.Event()  # the engine has failed somebody: the next look is now, and thorough
        self._down: tuple[float, str] | None = None  # since when, and why
        self.up = asyncio.Event()  # while the engine is not known to be down
        self.up.set()
        self._recovered = asyncio.Event()  # it is up again, and nobody was told yet
        engine.on_down = self._doubt

    def faults(self) -> Sequence[str]:
        """See `Part`."""
        if self._down is None:
            return ()
        since, reason = self._down
        seconds = asyncio.get_running_loop().time() - since
        return (f"the container engine does not answer: {reason}, since {seconds:.0f} s",)

    def check(self) -> None:
        """Raise `StartFailed` as long as the engine is down."""
        for fault in self.faults():
            raise StartFailed(fault)

    async def recovery(self) -> None:
        """Wait until the engine is up again; each time is told once."""
        await self._recovered.wait()
        self._recovered.clear()

    async def watch(self) -> None:
        """Look, for ever. In case of doubt it isn't enough that the engine is awake.

        Docker 20.10 was seen with a lock of its networks held for good: it answered pings and little else.
        """
        self._watching = asyncio.current_task()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._engine.settings.ping_interval):
                    await self._doubted.wait()
            thorough = self._doubted.is_set() or self._down is not None
            self._doubted.clear()
            await self._look(thorough=thorough)

    async def _look(self, *, thorough: bool) -> None:
        try:
            if thorough:
                await self._engine.negotiate()
                await self._engine.network(self._engine.settings.network)
            else:
                await self._engine.ping()
        except EngineDown as error:
            self._note_down(error.message)
            return
        except EngineError as error:  # it answers; what it doesn't like about this question is no fault of ours
            logger.warning("the container engine answers oddly: %s", error)
        self._note_up()

    def _doubt(self) -> None:
        if asyncio.current_task() is not self._watching:  # the look itself is no reason for another
            self._doubted.set()

    def _note_down(self, reason: str) -> None:
        since = asyncio.get_running_loop().time()
        if self._down is None:
            logger.error("the container engine does not answer: %s", reason)
            self.up.clear()
        else:
            since, _ = self._down
        self._down = (since, reason)

    def _note_up(self) -> None:
        if self._down is not None:
            seconds = asyncio.get_running_loop().time() - self._down[0]
            self._down = None
            logger.info("the container engine answers again, after %.0f s", seconds)
            self.up.set()
            self._recovered.set()
