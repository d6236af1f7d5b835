"""Paused containers are resumed for who is given them (spec 10.10.2), or make way."""

import asyncio

import pytest

from invoker.config import Seconds
from invoker.errors import ContainerError, Unreachable
from invoker.pool import State
from tests.core.pool.holders import GRACE, Holder, paused, release_all, shell_of, use
from tests.core.pool.workshop import Workshop, a_pool, a_task
from tests.core.simulation import idle, simulated


@simulated
async def test_it_is_resumed_for_the_next_one_and_warm() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        shell = await paused(pool, workshop)

        async with pool.lease(*a_task()) as lease:
            seen = (shell.paused, pool.count(State.BUSY), lease.warm, lease.reason)
            lease.keep = True

        assert seen == (False, 1, True, None)
        await asyncio.sleep(GRACE)
        assert (shell.paused, shell.pauses, workshop.created) == (True, 2, 1)


@simulated
@pytest.mark.parametrize("refused", [False, True])
async def test_one_that_is_taken_while_it_is_being_paused_waits_for_that_first(*, refused: bool) -> None:
    workshop = Workshop(pausable=True)
    workshop.pause_failure = ContainerError("not now") if refused else None
    async with a_pool(workshop) as pool:
        await use(pool)
        workshop.pausing.clear()
        await asyncio.sleep(GRACE)
        taker = Holder(pool)
        await idle()
        meanwhile = (taker.has_it.is_set(), pool.count(State.PAUSING))
        workshop.pausing.set()
        await idle()

        assert meanwhile == (False, 1)
        assert (taker.warm, shell_of(workshop).paused, shell_of(workshop).resumes) == (True, False, int(not refused))
        await taker.release()
        assert (pool.count(State.IDLE), workshop.created) == (1, 1)


@simulated
@pytest.mark.parametrize("failure", [ContainerError("it does not go on"), OSError("a bug of the plugin")])
async def test_one_that_cannot_be_resumed_hands_its_activation_on_and_goes(failure: Exception) -> None:
    """Spec 10.10.2."""
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        shell = await paused(pool, workshop)
        workshop.resume_failure = failure

        with pytest.raises(Unreachable, match=str(failure)):
            await use(pool)
        await idle()

        assert shell not in workshop.shells
        assert (pool.memory_used, await use(pool)) == (0, False)


@simulated
async def test_several_who_share_a_paused_container_resume_it_once() -> None:
    """Spec 10.12.1."""
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, concurrency=3) as pool:
        first = Holder(pool, concurrency=3)
        await idle()
        await first.release()
        await asyncio.sleep(GRACE)
        workshop.resuming.clear()
        holders = [Holder(pool, concurrency=3) for _ in range(3)]
        await idle()
        meanwhile = (pool.count(State.RESUMING), [holder.has_it.is_set() for holder in holders])

        workshop.resuming.set()
        await idle()

        assert meanwhile == (1, [False] * 3)
        assert [holder.warm for holder in holders] == [True] * 3
        assert (shell_of(workshop).resumes, workshop.created) == (1, 1)
        await release_all(*holders)


@simulated
async def test_several_who_share_one_that_cannot_be_resumed_all_go_on() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, concurrency=3) as pool:
        first = Holder(pool, concurrency=3)
        await idle()
        await first.release()
        await asyncio.sleep(GRACE)
        workshop.resume_failure = ContainerError("it does not go on")

        ends = await asyncio.gather(*(Holder(pool, concurrency=3).task for _ in range(3)), return_exceptions=True)
        await idle()

        assert [type(end) for end in ends] == [Unreachable] * 3
        assert (workshop.shells, pool.memory_used) == ([], 0)


@simulated
async def test_who_is_cancelled_while_it_is_resumed_leaves_the_others_theirs() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, concurrency=3) as pool:
        first = Holder(pool, concurrency=3)
        await idle()
        await first.release()
        await asyncio.sleep(GRACE)
        workshop.resuming.clear()
        given_up, other = Holder(pool, concurrency=3), Holder(pool, concurrency=3)
        await idle()

        await given_up.cancel()
        workshop.resuming.set()
        await other.has_it.wait()

        assert other.warm
        await other.release()


@simulated
async def test_one_who_is_cancelled_while_it_is_resumed_costs_the_container_after_that() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        await paused(pool, workshop)
        workshop.resuming.clear()
        given_up = Holder(pool)
        await idle()

        await given_up.cancel()
        await idle()
        before = len(workshop.shells)
        workshop.resuming.set()
        await idle()

        assert (before, workshop.shells, pool.memory_used) == (1, [], 0)


@simulated
async def test_one_that_dies_while_it_is_resumed_hands_its_activation_on() -> None:
    workshop = Workshop(pausable=True)
    async with a_pool(workshop) as pool:
        shell = await paused(pool, workshop)
        workshop.resuming.clear()
        taker = Holder(pool)
        await idle()

        shell.die()
        workshop.resume_failure = ContainerError("it is gone")
        workshop.resuming.set()
        with pytest.raises(Unreachable):
            await taker.task
        await idle()

        assert (workshop.removed, pool.memory_used) == (1, 0)


@simulated
async def test_a_paused_one_that_is_granted_to_who_is_cancelled_stays_paused() -> None:
    """Whoever waits behind the head of the queue, beside a container of its function that must wait for it too."""
    workshop = Workshop(pausable=True)
    async with a_pool(workshop, memory=512, patience=Seconds(1)) as pool:
        await use(pool)
        busy = Holder(pool, "busy")
        large = Holder(pool, "large", memory=512)
        await asyncio.sleep(GRACE)
        same = Holder(pool)
        await idle()
        assert not same.has_it.is_set()
        workshop.resuming.clear()

        large.task.cancel()
        while pool.waiting:
            await asyncio.sleep(0)
        await same.cancel()

        assert (pool.count(State.PAUSED), shell_of(workshop).resumes) == (1, 0)
        workshop.resuming.set()
        assert await use(pool) is True
        await busy.release()
