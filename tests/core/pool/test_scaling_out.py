"""How many containers a function gets: bursts in simulated time."""

import asyncio

import pytest

from invoker.config import Seconds
from invoker.entities.runtimes import StemCell
from invoker.pool import Pool
from invoker.pool.scaling import WORTH
from invoker.pool.slot import State
from invoker.pool.view import StartReason, WaitReason
from tests.core.pool.holders import Holder, release_all, run, use, waiting
from tests.core.pool.simulation import idle, simulated
from tests.core.pool.workshop import MB, Workshop, a_pool, with_stem_cells

INSTANT = 0.001
PLENTY = 128 * 256


async def burst(pool: Pool, count: int, *, seconds: float, concurrency: int = 1) -> float:
    """Have so many activations at once; return after how many seconds the last one ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(run(pool, seconds=seconds, concurrency=concurrency))
    return loop.time() - began


async def warmed(pool: Pool, containers: int, *, seconds: float = INSTANT) -> None:
    """Have a function known for taking so long, with so many containers."""
    holders = [Holder(pool, moved=True) for _ in range(containers)]
    for holder in holders:
        await holder.has_it.wait()
    await release_all(*holders)
    for _ in range(8):
        await burst(pool, containers, seconds=seconds)


@simulated
async def test_a_burst_of_instant_activations_waits_for_warm_containers() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await warmed(pool, 4)

        took = await burst(pool, 64, seconds=INSTANT)

    assert workshop.created == 4
    assert pool.waits == {WaitReason.SOONER: 60, WaitReason.MEMORY: 0, WaitReason.STARTS: 0}
    assert took == pytest.approx(16 * INSTANT, rel=0.01)


@simulated
async def test_a_function_that_takes_two_seconds_spreads() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await warmed(pool, 4, seconds=2.0)

        took = await burst(pool, 16, seconds=2.0)

    assert workshop.created == 16
    assert took == pytest.approx(2.1, rel=0.01)


@simulated
async def test_upstreams_way_starts_one_for_each() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY, scale_out="always") as pool:
        await warmed(pool, 4)

        await burst(pool, 64, seconds=INSTANT)

    assert workshop.created == 64
    assert pool.starts[StartReason.ALWAYS] == 60
    assert pool.waits[WaitReason.SOONER] == 0


@simulated
async def test_after_an_eviction_a_burst_of_instant_activations_starts_one() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=512) as pool:
        await warmed(pool, 1)
        await use(pool, "large", memory=512)
        created = workshop.created

        await burst(pool, 16, seconds=INSTANT)

        assert workshop.created - created == 1
        assert pool.starts[StartReason.EVICTED] == 1


@simulated
async def test_a_start_that_takes_a_little_longer_does_not_make_everybody_start_one() -> None:
    """All who waited for it are overdue at the same moment."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY, idle_timeout=Seconds(5)) as pool:
        await warmed(pool, 1)
        await asyncio.sleep(10)
        created = workshop.created
        workshop.start = 0.14

        await burst(pool, 16, seconds=INSTANT)

        assert workshop.created - created == 2
        assert (pool.starts[StartReason.EXPIRED], pool.starts[StartReason.OVERDUE]) == (1, 1)


@simulated
async def test_who_waited_too_long_in_a_crowd_doubles_the_containers_each_time() -> None:
    """What was instant takes 60 s, which no average knows yet."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await warmed(pool, 2)
        holders = [Holder(pool) for _ in range(16)]
        await waiting(pool, 14)
        containers = []
        for _ in range(4):
            await asyncio.sleep(0.126)
            containers.append(workshop.attempts)
        await asyncio.sleep(0.1)

        everybody = all(holder.has_it.is_set() for holder in holders)

        await release_all(*holders)
        assert containers == [4, 8, 16, 16]
        assert everybody
        assert pool.starts[StartReason.OVERDUE] == 14


@simulated
@pytest.mark.parametrize("end", ["dies", "fails", "is cancelled"])
async def test_who_waits_for_a_container_that_goes_away_starts_one_at_once(end: str) -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await warmed(pool, 1, seconds=0.02)  # two of them are worth waiting for, three are not
        busy = Holder(pool, keep=False)
        await idle()
        first, second = Holder(pool), Holder(pool)
        await waiting(pool, 2)
        if end == "dies":
            workshop.shells[0].die()
        elif end == "fails":
            await busy.release()
        else:
            await busy.cancel()
        await idle()

        under_way = (pool.count(State.STARTING), pool.waiting)

        await asyncio.sleep(0.1)
        await first.release()
        await idle()
        assert (first.reason, second.warm, under_way) == (StartReason.DIED, True, (1, 1))
        await second.release()
        if end == "dies":
            await busy.release()


@simulated
async def test_who_waits_for_a_start_that_fails_starts_one_at_once() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=256) as pool:
        await warmed(pool, 1)
        await use(pool, "other")
        starting = Holder(pool)
        await asyncio.sleep(0.05)
        patient = Holder(pool)
        await waiting(pool, 1)

        await starting.cancel()
        await idle()

        assert (pool.waiting, pool.count(State.STARTING)) == (0, 1)
        await patient.has_it.wait()
        assert patient.reason is StartReason.DIED
        await patient.release()


@simulated
async def test_with_fewer_containers_than_it_counted_on_somebody_thinks_again() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await warmed(pool, 4, seconds=0.1)
        busy = [Holder(pool) for _ in range(4)]
        await idle()
        last = [Holder(pool) for _ in range(4)]
        await waiting(pool, 4)

        for shell in workshop.shells[:3]:
            shell.die()
        await idle()

        started = (pool.count(State.STARTING), pool.waiting)

        await asyncio.sleep(1)
        await release_all(*busy, *last)
        assert started == (3, 1)  # 0.1 s for the first, then 0.2, 0.15 and 0.133; a start is worth 0.125


@simulated
async def test_the_reasons_of_cold_starts_are_counted_and_the_last_ones_listed() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=256, idle_timeout=Seconds(100)) as pool:
        await use(pool, "a")
        await use(pool, "b")
        await use(pool, "a", keep=False)
        await use(pool, "a")
        await asyncio.sleep(150)
        await use(pool, "a")
        moved = Holder(pool, "c", moved=True)
        await moved.has_it.wait()
        await moved.release()

        view = pool.view()

    reasons = [(one.action, one.reason) for one in reversed(view.recent)]
    assert reasons == [
        ("guest/a", "new"),
        ("guest/b", "new"),
        ("guest/a", "evicted"),
        ("guest/a", "died"),
        ("guest/a", "expired"),
        ("guest/c", "moved"),
    ]
    assert {name: count for name, count in view.starts.items() if count} == {
        "new": 2,
        "evicted": 1,
        "died": 1,
        "expired": 1,
        "moved": 1,
    }


@simulated
async def test_a_container_that_is_there_comes_before_a_new_one_for_who_moved_too() -> None:
    async with a_pool(Workshop()) as pool:
        await use(pool)

        moved = Holder(pool, moved=True)
        await moved.has_it.wait()

        assert moved.warm
        await moved.release()


@simulated
async def test_nothing_is_left_of_a_wait_that_ended_otherwise() -> None:
    """The timer of those who wait by choice."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await warmed(pool, 1)
        await burst(pool, 3, seconds=INSTANT)
        busy = Holder(pool)
        await idle()
        given_up = Holder(pool)
        await waiting(pool, 1)
        await given_up.cancel()
        await asyncio.sleep(1)
        await busy.release()

    assert (workshop.created, pool.waiting) == (1, 0)
    assert pool.starts[StartReason.OVERDUE] == 0


@simulated
async def test_who_has_less_patience_is_looked_at_first() -> None:
    """One timer for all: a start of the first function takes ten seconds."""
    workshop = Workshop()
    async with a_pool(workshop, memory=PLENTY) as pool:
        for name, start in (("slow", 10.0), ("quick", 0.1)):
            workshop.start = start
            for _ in range(8):
                await run(pool, name, seconds=INSTANT)
        busy = [Holder(pool, name) for name in ("slow", "quick")]
        await idle()
        patient = [Holder(pool, "slow"), Holder(pool, "quick")]
        await waiting(pool, 2)

        await asyncio.sleep(0.2)

        assert (pool.waiting, pool.count(State.STARTING)) == (1, 1)
        await asyncio.sleep(20)
        assert [holder.reason for holder in patient] == [StartReason.OVERDUE] * 2
        await release_all(*busy, *patient)


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
    cells = with_stem_cells(StemCell(count=1, memory=256 * MB))
    async with a_pool(Workshop(start=0.1), memory=PLENTY, runtimes=cells) as pool:
        await asyncio.sleep(1)
        await run(pool, "prewarmed", seconds=1)
        await run(pool, "cold", seconds=1, memory=128)
        (prewarmed, cold) = pool.view().functions
        before = [(one.hold, one.start) for one in (prewarmed, cold)]
        await run(pool, "cold", seconds=2, memory=128)
        await use(pool, "cold", memory=128, keep=False)
        await run(pool, "cold", seconds=9, memory=128)
        (_, cold) = pool.view().functions

    assert before == [(pytest.approx(1), None), (pytest.approx(1), pytest.approx(0.1))]
    assert cold.hold == pytest.approx(2 - 2 / 8, rel=0.001)
    assert pool.containers.typical_start == pytest.approx(0.1)
