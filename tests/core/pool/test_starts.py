"""How many containers are created at the same time, and what happens meanwhile."""

import asyncio

from invoker.entities.runtimes import PrewarmConfig
from invoker.pool import Pool, StartReason, State, WaitReason
from invoker.pool.lifecycle import SLOW
from tests.core.pool.holders import Holder, release_all, run, use, waiting
from tests.core.pool.workshop import MB, Workshop, a_pool, with_prewarm
from tests.core.simulation import idle, simulated

PLENTY = 128 * 256
KIND = with_prewarm(PrewarmConfig(count=3, memory=256 * MB))
INSTANT = 0.001


async def crowd(pool: Pool, names: list[str]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(run(pool, name, seconds=INSTANT))


@simulated
async def test_no_more_containers_are_created_at_once_than_allowed() -> None:
    workshop = Workshop()
    workshop.creating.clear()
    async with a_pool(workshop, memory=PLENTY, parallel_starts=3) as pool:
        holders = [Holder(pool, f"f{number}") for number in range(8)]
        await idle()
        under_way = (workshop.attempts, pool.waiting, pool.waits[WaitReason.STARTS])
        workshop.creating.set()
        await release_all(*holders)

    assert under_way == (3, 5, 5)
    assert workshop.created == 8


@simulated
async def test_prewarmed_containers_take_turns_with_those_that_somebody_waits_for_and_let_them_go_first() -> None:
    workshop = Workshop(start=0.5)
    async with a_pool(workshop, memory=PLENTY, parallel_starts=1, runtimes=KIND) as pool:
        await idle()
        at_first = workshop.attempts
        holder = Holder(pool, memory=128)
        await waiting(pool, 1)
        await holder.has_it.wait()
        prewarmed = pool.count(State.PREWARMED)
        await holder.release()

        await asyncio.sleep(2)

        assert (at_first, prewarmed) == (1, 1)
        assert pool.count(State.PREWARMED) == 3


@simulated
async def test_a_creation_that_is_slow_takes_no_turn_from_others() -> None:
    workshop = Workshop()
    workshop.creating.clear()
    async with a_pool(workshop, memory=PLENTY, parallel_starts=2) as pool:
        holders = [Holder(pool, f"f{number}") for number in range(5)]
        attempts = []
        for _ in range(3):
            await idle()
            attempts.append(workshop.attempts)
            await asyncio.sleep(SLOW)
        workshop.creating.set()
        await release_all(*holders)

    assert attempts == [2, 4, 5]


@simulated
async def test_a_crowd_on_functions_never_seen_shares_what_was_started_first() -> None:
    workshop = Workshop(start=0.25)
    async with a_pool(workshop, memory=PLENTY, parallel_starts=4) as pool:
        await crowd(pool, [f"f{number % 4}" for number in range(64)])

        containers = [fleet.containers for fleet in pool.snapshot().actions]

    assert len(containers) == 4
    assert max(containers) <= 2
    assert workshop.created <= 8


@simulated
async def test_a_start_that_fails_or_is_cancelled_lets_the_next_begin() -> None:
    workshop = Workshop()
    workshop.creating.clear()
    async with a_pool(workshop, memory=PLENTY, parallel_starts=1) as pool:
        cancelled = Holder(pool, "cancelled")
        await waiting(pool, 0)
        await idle()
        next_one = Holder(pool, "next")
        await waiting(pool, 1)

        cancelled.task.cancel()
        await asyncio.wait({cancelled.task})
        workshop.creating.set()
        await next_one.has_it.wait()
        await next_one.release()

        assert not pool._containers._creating


@simulated
async def test_who_waits_for_its_turn_to_start_holds_no_other_function_up() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=PLENTY, parallel_starts=1, patience=0.001) as pool:
        await use(pool, "warm")
        workshop.creating.clear()
        first, second = Holder(pool, "slow"), Holder(pool, "slower")
        await waiting(pool, 1)
        await asyncio.sleep(1)

        assert await use(pool, "warm")

        workshop.creating.set()
        await release_all(first, second)
    assert pool.starts[StartReason.NEW] == 3
