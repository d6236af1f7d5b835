"""A queue whose head has waited too long: what is free is kept for it, and used as soon as the head is served or gone.

In each of these the head wants 512 of 768 MB, of which "busy" has 512: what is idle would not be enough for it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from invoker.config import Seconds
from invoker.pool import Pool, State, WaitReason
from tests.core.pool.holders import Holder, release_all, run, waiting
from tests.core.pool.workshop import Workshop, a_pool
from tests.core.simulation import idle, simulated

BEYOND = 0.3
"""Seconds: more than the pool's patience, less than that of who waits by choice."""


@asynccontextmanager
async def a_full_pool(*, keep: bool = False) -> AsyncIterator[tuple[Pool, Holder]]:
    """Run a pool with an instant function "hello", whose container is idle, and with somebody busy."""
    async with a_pool(Workshop(start=1.0), memory=768, patience=Seconds(0.2)) as pool:
        for _ in range(8):
            await run(pool, seconds=0.001)
        busy = Holder(pool, "busy", memory=512, keep=keep)
        await busy.has_it.wait()
        yield pool, busy


@simulated
@pytest.mark.parametrize("end", ["served", "given up"])
async def test_who_was_passed_over_is_served_when_the_head_is_no_more(end: str) -> None:
    async with a_full_pool() as (pool, busy):
        ours = Holder(pool)
        await idle()
        stuck, patient = Holder(pool, "stuck", memory=512), Holder(pool)
        await waiting(pool, 2)
        await asyncio.sleep(BEYOND)
        await ours.release()
        passed_over = (pool.waits[WaitReason.SOONER], patient.has_it.is_set(), pool.count(State.IDLE))

        await (busy.release() if end == "served" else stuck.cancel())
        await idle()

        assert passed_over == (1, False, 1)
        assert (patient.warm, list(pool._scheduler._passed_over)) == (True, [])
        await patient.release()
        await (stuck if end == "served" else busy).release()


@simulated
async def test_who_comes_to_what_is_kept_for_the_head_is_served_then_too() -> None:
    async with a_full_pool() as (pool, busy):
        stuck = Holder(pool, "stuck", memory=512)
        await asyncio.sleep(BEYOND)
        newcomer = Holder(pool)
        await waiting(pool, 2)

        await stuck.cancel()
        await idle()

        assert newcomer.warm
        await release_all(newcomer, busy)


@simulated
async def test_the_head_that_gets_a_container_of_its_own_function_makes_way_too() -> None:
    async with a_full_pool(keep=True) as (pool, busy):
        ours = Holder(pool)
        await idle()
        mate = Holder(pool, "busy", memory=512, moved=True)
        patient = Holder(pool)
        await waiting(pool, 2)
        await asyncio.sleep(BEYOND)
        await ours.release()
        await busy.release()
        await idle()

        assert (mate.warm, patient.warm) == (True, True)
        await release_all(mate, patient)


@simulated
async def test_who_came_first_of_a_function_gets_what_was_kept() -> None:
    """One waits by choice, and one behind it in the queue."""
    async with a_full_pool() as (pool, busy):
        stuck = Holder(pool, "stuck", memory=512)
        await asyncio.sleep(BEYOND)
        first = Holder(pool)
        await waiting(pool, 2)
        second = Holder(pool, moved=True)
        await waiting(pool, 3)

        await stuck.cancel()
        await idle()

        assert (first.warm, second.has_it.is_set()) == (True, False)
        await first.release()
        await idle()
        assert second.warm
        await release_all(second, busy)


@simulated
async def test_who_has_just_become_the_head_is_not_stuck_however_long_it_waited_by_choice() -> None:
    async with a_full_pool(keep=True) as (pool, busy):
        ours, patient = Holder(pool), Holder(pool)
        await waiting(pool, 1)
        await asyncio.sleep(1.26)  # what a start is worth
        mate = Holder(pool, "busy", memory=512)
        await waiting(pool, 2)

        await busy.release()
        await idle()

        assert mate.warm
        await ours.release()
        await idle()
        assert patient.warm
        await release_all(patient, mate)


@simulated
async def test_who_comes_while_what_was_kept_is_given_out_in_steps_comes_after_those_who_waited() -> None:
    async with a_pool(Workshop(), memory=768, patience=Seconds(0.2), concurrency=70) as pool:
        await run(pool, seconds=0, concurrency=70)
        busy = Holder(pool, "busy", memory=512)
        stuck = Holder(pool, "stuck", memory=512)
        await asyncio.sleep(BEYOND)
        crowd = [Holder(pool, concurrency=70) for _ in range(100)]
        await waiting(pool, 101)

        stuck.task.cancel()
        newcomer = Holder(pool, concurrency=70)
        await waiting(pool, 31)

        assert [holder.has_it.is_set() for holder in crowd] == [True] * 70 + [False] * 30
        assert not newcomer.has_it.is_set()
        await release_all(busy, *crowd, newcomer)
