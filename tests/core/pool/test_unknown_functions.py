"""Functions of which nothing is known: one container, and the others wait for it. In simulated time."""

import asyncio

import pytest

from invoker.entities.runtimes import PrewarmConfig
from invoker.pool import StartReason, State, WaitReason
from invoker.pool.actions import WORTH
from tests.core.pool.holders import INSTANT, PLENTY, Holder, burst, release_all, run, use, waiting
from tests.core.pool.workshop import MB, Workshop, a_pool, with_prewarm
from tests.core.simulation import idle, simulated


@simulated
async def test_a_function_that_nobody_knows_gets_one_container_and_the_others_wait_for_it() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        took = await burst(pool, 64, seconds=INSTANT)

    assert (workshop.created, pool.waits[WaitReason.SOONER]) == (1, 63)
    assert took == pytest.approx(0.1 + 64 * INSTANT, rel=0.01)


@simulated
async def test_a_function_that_nobody_knows_spreads_once_it_has_run_for_longer_than_a_start_is_worth() -> None:
    """Nothing is known of starts either, until the first one has succeeded: 0.1 + 0.125 + 0.1 + 2 s."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        took = await burst(pool, 16, seconds=2.0)

    assert (workshop.created, pool.starts[StartReason.OVERDUE]) == (16, 15)
    assert took == pytest.approx(0.1 + WORTH * 0.1 + 0.1 + 2.0, rel=0.001)


@simulated
async def test_while_the_first_start_takes_its_time_a_function_that_nobody_knows_doubles_its_containers() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await use(pool, "another")
        workshop.start = 60.0
        began = workshop.attempts
        holders = [Holder(pool) for _ in range(8)]
        containers = []
        for _ in range(4):
            await idle()
            containers.append(workshop.attempts - began)
            await asyncio.sleep(0.126)
        await asyncio.sleep(60)
        await release_all(*holders)

    assert containers == [1, 2, 4, 8]


@simulated
async def test_a_run_right_after_init_is_taken_for_the_others_until_one_of_these_has_ended() -> None:
    cells = with_prewarm(PrewarmConfig(count=1, memory=256 * MB))
    async with a_pool(Workshop(start=0.1), memory=PLENTY, runtimes=cells) as pool:
        await asyncio.sleep(1)
        await run(pool, "prewarmed", seconds=1)
        await run(pool, "cold", seconds=1, memory=128)
        (prewarmed, cold) = pool.snapshot().actions
        before = [(one.service_time, one.start_time) for one in (prewarmed, cold)]
        await run(pool, "cold", seconds=2, memory=128)
        await use(pool, "cold", memory=128, keep=False)
        await run(pool, "cold", seconds=9, memory=128)
        (_, cold) = pool.snapshot().actions

    assert [service_time for service_time, _ in before] == pytest.approx([1, 1])
    assert before[0][1] is None
    assert before[1][1] == pytest.approx(0.1)
    assert cold.service_time == pytest.approx(2 - 2 / 8, rel=0.001)
    assert pool._containers.typical_start == pytest.approx(0.1)


@simulated
@pytest.mark.parametrize("start", [0.12, 0.24])
async def test_what_a_slow_start_took_is_no_sign_of_a_slow_function(start: float) -> None:
    """Those who wait were overdue before the first run had ended, or nearly so."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await use(pool, "another")
        workshop.start = start
        began = workshop.attempts

        await burst(pool, 6, seconds=0.02)

    assert workshop.attempts - began == (1 if start < WORTH * 0.1 else 2)


@simulated
async def test_as_soon_as_a_warm_run_has_ended_those_who_wait_count_on_it() -> None:
    """Not only once they have waited for what a start is worth, at 0.225 s."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        crowd = asyncio.create_task(burst(pool, 32, seconds=0.04))
        await asyncio.sleep(0.17)
        before = workshop.attempts
        await asyncio.sleep(0.02)
        after = workshop.attempts

        took = await crowd

    assert before == 1
    assert after > 2
    assert pool.starts[StartReason.BUSY] == after - before
    assert took < 0.5


@simulated
async def test_who_waits_has_less_patience_as_soon_as_a_start_turns_out_to_be_quick() -> None:
    """All were prewarmed so far, and took a second. Patience counts from when a start was seen to be quick."""
    workshop = Workshop(start=1.0)
    async with a_pool(workshop, memory=PLENTY, runtimes=with_prewarm(PrewarmConfig(count=1, memory=256 * MB))) as pool:
        await asyncio.sleep(1.1)
        workshop.failing, workshop.start = True, 0.1  # no other is prewarmed for a second
        await use(pool)
        await use(pool)
        await asyncio.sleep(0.2)
        workshop.failing = False
        busy = Holder(pool)
        await idle()
        patient = [Holder(pool), Holder(pool)]
        await waiting(pool, 2)
        await asyncio.sleep(0.3)
        moved = Holder(pool, moved=True)
        await moved.has_it.wait()
        seen = []
        for seconds in (WORTH * 0.1 - 0.01, 0.02, 0.1):
            await asyncio.sleep(seconds)
            seen.append((pool.count(State.STARTING), sum(holder.has_it.is_set() for holder in patient)))

        assert seen == [(0, 0), (2, 0), (0, 2)]
        assert [holder.reason for holder in patient] == [StartReason.OVERDUE] * 2
        await release_all(busy, moved, *patient)


@simulated
async def test_those_who_shared_the_initialisation_do_not_count_it_as_their_run() -> None:
    async with a_pool(Workshop(start=0.1), memory=PLENTY, concurrency=3) as pool:
        first, *others = (Holder(pool, concurrency=3, slow=True) for _ in range(3))
        await asyncio.sleep(5)
        first.may_init.set()
        await idle()
        await asyncio.sleep(2)
        await first.release()
        guess = pool.snapshot().actions[0].service_time
        await asyncio.sleep(1)
        await release_all(*others)

        (function,) = pool.snapshot().actions

    assert [guess, function.service_time] == pytest.approx([2, 3], rel=0.001)
    assert function.start_time == pytest.approx(5, rel=0.001)


@simulated
async def test_what_the_start_of_a_prewarmed_container_took_is_known_of_starts_until_there_was_another() -> None:
    """Two take the prewarmed ones; the others have seen nothing for 1.25 starts then."""
    cells = with_prewarm(PrewarmConfig(count=2, memory=256 * MB))
    async with a_pool(Workshop(start=0.1), memory=PLENTY, runtimes=cells, parallel_starts=99) as pool:
        await asyncio.sleep(1)

        took = await burst(pool, 8, seconds=2.0)

    assert took == pytest.approx(WORTH * 0.1 + 0.1 + 2.0, rel=0.001)
