"""A day in a second: an event loop whose time passes only when nothing else can happen."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec

IDLE: Final = 1e-6
"""Seconds: time passes only when nothing is ready to run."""
LONGEST: Final = 50_000.0
"""Seconds. What still waits then waits for ever."""


P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
    """Never sleeps: it tells the loop instead for how long it would have."""

    loop: "SimulatedLoop"

    def select(self, timeout: float | None = None) -> Any:
        self.loop.turns += 1
        if timeout is None or timeout > 0:
            self.loop.nothing_to_do(timeout)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which starts at 1000 s. No I/O, no threads."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 1000.0
        self.turns = 0
        """How often it has looked for what is ready."""
        self._until_idle = False
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_until_idle(self) -> None:
        """Run everything that can run without time passing."""
        self._until_idle = True
        try:
            self.run_forever()
        finally:
            self._until_idle = False

    def nothing_to_do(self, timeout: float | None) -> None:
        if self._until_idle:
            self.stop()
        elif timeout is None or self.now > LONGEST:
            raise AssertionError("what is awaited will never happen")
        else:
            self.now += timeout


def simulated(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in simulated time: `asyncio.sleep` takes none of the real one."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def clock() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


async def idle() -> None:
    """Let everything run that can without time passing."""
    await asyncio.sleep(IDLE)
