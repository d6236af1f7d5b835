"""Prewarmed containers and a clock that goes on while it is read; timers ring a little early, as uvloop's do."""

import asyncio

import pytest

from invoker.entities.runtimes import PrewarmConfig
from invoker.pool import State
from tests.core.pool.workshop import MB, Workshop, a_pool, with_prewarm
from tests.core.simulation import simulated

EARLY = 1e-6
"""By how much a timer of a second is early: the clock lags so much behind the loop's."""


class LaggingClock:
    """Goes on by `step` seconds with each reading."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._loop = asyncio.get_running_loop()
        self._began = self._seen = self._loop.time()
        self._readings = 0

    def __call__(self) -> float:
        now = self._loop.time()
        self._readings = self._readings + 1 if now == self._seen else 1
        self._seen = now
        return self._began + (now - self._began) * (1 - EARLY) + self._step * (self._readings - 1)


@pytest.mark.parametrize("readings", [1, 2, 3, 5, 8])
@simulated
async def test_a_retry_is_not_missed_at_whichever_reading_its_time_comes(readings: int) -> None:
    workshop = Workshop()
    cells = with_prewarm(PrewarmConfig(count=1, memory=256 * MB))
    async with a_pool(workshop, runtimes=cells, clock=LaggingClock(EARLY / (readings - 0.5))) as pool:
        await asyncio.sleep(0.1)
        (shell,) = workshop.shells

        shell.die()
        await asyncio.sleep(1.5)

        assert (pool.count(State.PREWARMED), workshop.created) == (1, 2)
