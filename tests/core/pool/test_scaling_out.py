"""How many containers a function gets: bursts in simulated time."""

import asyncio

import pytest

from invoker.config import Seconds
from invoker.pool import StartReason, State, WaitReason
from invoker.pool.actions import WORTH
from tests.core.pool.holders import INSTANT, PLENTY, Holder, burst, release_all, run, use, waiting, warmed
from tests.core.pool.workshop import Workshop, a_pool
from tests.core.simulation import idle, simulated


@simulated
async def test_a_burst_of_instant_activations_waits_for_warm_containers() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await warmed(pool, 4)

        took = await burst(pool, 64, seconds=INSTANT)

    assert workshop.created == 4
    assert pool.waits == {WaitReason.SOONER: 60, WaitReason.MEMORY: 0, WaitReason.STARTS: 0, WaitReason.ROOM: 0}
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
        await warmed(pool, 1, seconds=0.005)
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
        reasons = [StartReason.OVERDUE, StartReason.BUSY, StartReason.BUSY, StartReason.BUSY]
        assert [holder.reason for holder in last] == reasons  # who came last would have waited longest


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

        view = pool.snapshot()

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

        assert (workshop.created, pool.waiting, pool.starts[StartReason.OVERDUE]) == (1, 0, 0)
        await busy.release()


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
async def test_who_came_a_little_later_than_those_who_wait_once_more_is_overdue_a_little_later() -> None:
    """Of two who are overdue at 0.125 s one starts a container, and the other is soon served; then comes the third."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await warmed(pool, 1)
        busy = Holder(pool)
        await idle()
        holders = [Holder(pool), Holder(pool)]
        await asyncio.sleep(0.06)
        holders.append(Holder(pool))
        await asyncio.sleep(0.07)
        await busy.release()
        began = workshop.attempts
        await asyncio.sleep(0.09)

        assert [holder.has_it.is_set() for holder in holders] == [False, True, False]
        assert workshop.attempts - began == 1
        await asyncio.sleep(0.1)
        await release_all(*holders)


@simulated
@pytest.mark.parametrize(("warm", "before"), [(11, 2.0), (11, INSTANT), (8, 2.0)])
async def test_one_more_than_there_are_warm_containers_does_not_wait_for_a_second_round(
    warm: int, before: float
) -> None:
    """All of them come free at the same time, in 2 seconds, where the averages say that the first is free sooner."""
    async with a_pool(Workshop(start=0.3), memory=PLENTY) as pool:
        await warmed(pool, warm, seconds=before)

        assert await burst(pool, 12, seconds=2.0) == pytest.approx(WORTH * 0.3 + 0.3 + 2.0, abs=0.1)
