"""Idle containers are paused (spec 10.10), and nobody notices but the processor."""

import asyncio

import pytest

from invoker.config import Seconds
from invoker.errors import ContainerError
from invoker.pool import State
from invoker.pool.pausing import AT_ONCE, TRIES
from tests.core.pool.holders import GRACE, Holder, paused, shell_of, use
from tests.core.pool.workshop import Shell, Workshop, a_pool
from tests.core.simulation import idle, simulated


@simulated
async def test_what_is_idle_for_the_grace_is_paused_and_not_sooner() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        await use(pool)
        await asyncio.sleep(9.9)
        before = shell_of(workshop).paused

        await asyncio.sleep(GRACE - 9.9)

        assert (before, shell_of(workshop).paused, pool.count(State.PAUSED)) == (False, True, 1)


@simulated
async def test_what_is_in_use_is_never_paused() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        holder = Holder(pool)
        await asyncio.sleep(500)

        assert shell_of(workshop).pauses == 0
        await holder.release()


@simulated
async def test_nothing_is_paused_when_the_operator_says_so() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, pause=False) as pool:
        await use(pool)

        await asyncio.sleep(500)

        assert (shell_of(workshop).pauses, pool.count(State.IDLE)) == (0, 1)


@simulated
async def test_a_runtime_that_cannot_pause_is_left_alone() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool)

        await asyncio.sleep(500)

        assert (type(workshop.shells[0]), pool.count(State.IDLE)) == (Shell, 1)
        assert await use(pool) is True


@simulated
@pytest.mark.parametrize("grace", [0.2, 60.0])
async def test_the_grace_is_a_setting(grace: float) -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, pause_grace=Seconds(grace)) as pool:
        await use(pool)
        await asyncio.sleep(0.99 * grace)
        before = shell_of(workshop).paused

        await asyncio.sleep(0.3 * grace)

        assert (before, shell_of(workshop).paused) == (False, True)


@simulated
async def test_a_refused_pause_costs_nobody_anything_and_is_tried_three_times() -> None:
    workshop = Workshop(pausable=True)
    workshop.pause_failure = ContainerError("no cgroup to pause it in")
    tries = []
    async with a_pool(workshop) as pool:
        await use(pool)
        for _ in range(5):
            await asyncio.sleep(GRACE)
            tries.append(shell_of(workshop).pauses)

        assert (await use(pool), workshop.created, workshop.removed) == (True, 1, 0)

    assert tries == [1, 2, TRIES, TRIES, TRIES]


@simulated
async def test_many_are_paused_a_few_at_a_time() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, memory=256 * 10) as pool:
        for name in "abcdefghij":
            await use(pool, name)
        workshop.pausing.clear()
        await asyncio.sleep(GRACE)

        under_way = pool.count(State.PAUSING)

        workshop.pausing.set()
        await idle()
        assert (under_way, pool.count(State.PAUSED)) == (AT_ONCE, 10)


@simulated
@pytest.mark.parametrize("state", [State.PAUSING, State.PAUSED])
async def test_one_that_dies_while_it_is_paused_is_nobodys(state: State) -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        await use(pool)
        if state is State.PAUSING:
            workshop.pausing.clear()
        await asyncio.sleep(GRACE)
        assert pool.count(state) == 1

        shell_of(workshop).die()
        workshop.pausing.set()
        await idle()

        assert (workshop.shells, pool.memory_used, pool.count(State.PAUSED)) == ([], 0, 0)
        assert await use(pool) is False


@simulated
async def test_a_paused_one_is_removed_when_its_time_is_over() -> None:
    """Spec 10.1. No container is resumed for that: the runtime does what it needs (spec T79)."""
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, idle_timeout=Seconds(60)) as pool:
        shell = await paused(pool, workshop)

        await asyncio.sleep(60)

        assert (workshop.shells, shell.resumes, pool.memory_used) == ([], 0, 0)


@simulated
@pytest.mark.parametrize("state", [State.PAUSING, State.PAUSED])
async def test_a_paused_one_makes_room_for_another(state: State) -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, memory=256) as pool:
        await use(pool)
        if state is State.PAUSING:
            workshop.pausing.clear()
        await asyncio.sleep(GRACE)
        other = Holder(pool, "other")
        await idle()
        meanwhile = other.has_it.is_set()
        workshop.pausing.set()
        await idle()

        assert meanwhile is (state is State.PAUSED)  # one thing at a time: no daemon likes both at once
        assert other.has_it.is_set()
        await other.release()


@simulated
@pytest.mark.parametrize("state", [State.PAUSING, State.PAUSED])
async def test_leaving_removes_what_is_paused(state: State) -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        await use(pool)
        if state is State.PAUSING:
            workshop.pausing.clear()
        await asyncio.sleep(GRACE)
        assert pool.count(state) == 1
        asyncio.get_running_loop().call_later(1, workshop.pausing.set)

    assert (workshop.shells, pool.memory_used) == ([], 0)


@simulated
async def test_leaving_does_not_wait_for_a_pause_that_never_ends() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        await use(pool)
        workshop.pausing.clear()
        await asyncio.sleep(GRACE)

    assert pool.memory_used == 0
