"""An event loop without waiting."""

import asyncio
import selectors
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._slowness = 0.0
        super().__init__(self._Selector(self))

    def time(self) -> float:
        self._now += self._slowness
        return self._now

    class _Selector(selectors.DefaultSelector):
        def __init__(self, loop: "VirtualLoop") -> None:
            super().__init__()
            self._loop = loop

        def select(self, timeout: float | None = None) -> Any:
            self._loop._now += timeout or 0
            return super().select(0)

    def stop_for(self, seconds: float) -> None:
        """Let time pass in which the loop doesn't run, as if the machine had been suspended."""
        self._now += seconds

    def slow_down_by(self, seconds: float) -> None:
        """Take so much time for each look at the clock."""
        self._slowness = seconds
