"""What an activation costs doesn't depend on how many wait, how many containers there are, or how many actions."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

import invoker.pool
from invoker.contracts import Output
from invoker.entities.container import ContainerSpec
from invoker.pool import Pool, State
from tests.core.pool.holders import Holder, release_all, run
from tests.core.pool.workshop import Shell, Workshop, a_pool
from tests.core.simulation import SimulatedLoop, simulated

CODE = str(Path(invoker.pool.__file__).parent)
COUNTED = 400
"""Activations."""


class Steps:
    """Lines that the pool's own code runs, and functions that it calls, built in or not."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        self._loop = loop
        self.count = 0
        self.longest = 0
        """In one turn of the event loop."""
        self._turn = self._in_turn = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count in the block."""
        sys.settrace(self._trace)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(CODE):
            return None
        self._step()
        return self._trace

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "c_call" and frame.f_code.co_filename.startswith(CODE):
            self._step()

    def _step(self) -> None:
        self.count += 1
        self._in_turn = self._in_turn + 1 if self._turn == self._loop.turns else 1
        self._turn = self._loop.turns
        self.longest = max(self.longest, self._in_turn)


class Case(NamedTuple):
    containers: int
    waiting: int
    actions: int = 1


async def steps_of(case: Case) -> float:
    """Return how many steps the pool takes for an activation while so many clients ask again and again."""
    steps, served = Steps(), 0

    async def client(pool: Pool, name: str) -> None:
        nonlocal served
        while True:
            await run(pool, name, seconds=0.001)
            served += 1

    async with a_pool(Workshop(start=0.01), memory=256 * case.containers) as pool, asyncio.TaskGroup() as tasks:
        clients = [
            tasks.create_task(client(pool, f"f{number % case.actions}"))
            for number in range(case.containers + case.waiting)
        ]
        await asyncio.sleep(0.03)
        began = served
        with steps.counted():
            while served < began + COUNTED:
                await asyncio.sleep(0.001)
        for one in clients:
            one.cancel()
    return steps.count / (served - began)


@simulated
@pytest.mark.parametrize(
    ("few", "many"),
    [
        pytest.param(Case(8, 100), Case(200, 20_000), id="one action"),
        pytest.param(Case(8, 100, 4), Case(200, 20_000, 100), id="actions that have containers"),
        pytest.param(Case(8, 100, 108), Case(8, 20_000, 20_008), id="each evicts another"),
    ],
)
async def test_an_activation_takes_as_many_steps_however_many_wait(few: Case, many: Case) -> None:
    assert await steps_of(many) <= 1.1 * await steps_of(few)


class Uneven(Workshop):
    """Each start takes a little longer than the one before, so that they don't end at the same moment."""

    async def create(self, spec: ContainerSpec, output: Output) -> Shell:
        self.start = 0.1 + 0.001 * self.attempts
        return await super().create(spec, output)


async def longest_turn(count: int, *, concurrency: int) -> int:
    """Return the most steps in one turn of the event loop while an action that nobody knows is asked for so often."""
    steps = Steps()
    async with (
        a_pool(Uneven(), memory=256 * count, concurrency=concurrency, parallel_starts=count) as pool,
        asyncio.TaskGroup() as tasks,
    ):
        with steps.counted():
            for _ in range(count):
                tasks.create_task(run(pool, seconds=60, concurrency=concurrency))
                await asyncio.sleep(0)
            await asyncio.sleep(30)
        assert (pool.waiting, pool.count(State.BUSY)) == (0, count // concurrency)
    return steps.longest


@simulated
@pytest.mark.parametrize("concurrency", [1, 500])
async def test_however_many_get_a_container_at_once_no_turn_of_the_event_loop_takes_longer(concurrency: int) -> None:
    few, many = await longest_turn(200, concurrency=1), await longest_turn(2000, concurrency=concurrency)

    assert many <= 1.1 * few


@simulated
async def test_who_waits_in_vain_costs_nothing() -> None:
    """However many actions have somebody who would get another container if there were memory for one."""
    steps = Steps()
    async with a_pool(Workshop(start=0.1), memory=256 * 50, pause=False) as pool:
        holders = [Holder(pool, f"f{number % 50}") for number in range(100)]
        await asyncio.sleep(10)
        with steps.counted():
            await asyncio.sleep(100)

        assert pool.waiting == 50
        assert steps.count < 50  # once a minute somebody looks for containers that have been idle
        await release_all(*holders)
