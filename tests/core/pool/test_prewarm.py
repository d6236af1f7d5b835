"""Prewarmed containers: started in time, taken, replaced, and never in anybody's way (spec 10.6, T77, T78)."""

import asyncio

import pytest

from invoker.config import ByteSize
from invoker.entities.runtimes import PrewarmConfig
from invoker.pool import Pool, StartReason, State
from invoker.testing.builders import a_runtime
from tests.core.pool.holders import Holder, release_all, run, use, waiting
from tests.core.pool.workshop import MB, Workshop, a_pool, a_task, with_prewarm
from tests.core.simulation import clock, idle, simulated

TWO = with_prewarm(PrewarmConfig(count=2, memory=256 * MB))
ONE = with_prewarm(PrewarmConfig(count=1, memory=256 * MB))


def counts(pool: Pool) -> tuple[int, int]:
    """Return how many are ready and how many start."""
    (view,) = pool.snapshot().prewarmed
    return view.ready, view.starting


@simulated
async def test_there_are_as_many_as_the_manifest_wants_from_the_start() -> None:
    """Spec 10.6.1."""
    workshop = Workshop(start=1.0)
    cells = with_prewarm(PrewarmConfig(count=2, memory=256 * MB), PrewarmConfig(count=1, memory=128 * MB))
    async with a_pool(workshop, memory=2048, runtimes=cells) as pool:
        await idle()
        before = (pool.count(State.PREWARMED), pool.memory_used)
        await asyncio.sleep(1)

        assert before == (0, 640 * MB)
        assert (pool.count(State.PREWARMED), pool.memory_used) == (3, 640 * MB)

    assert (workshop.shells, pool.memory_used) == ([], 0)


@simulated
async def test_one_that_has_started_is_not_counted_as_starting_too() -> None:
    """Whoever asked in between was told of three where two were wanted."""
    workshop = Workshop()
    workshop.creating.clear()
    seen = []
    async with a_pool(workshop, memory=2048, runtimes=TWO) as pool:
        await idle()
        workshop.creating.set()
        while counts(pool) != (2, 0):
            seen.append(counts(pool))
            await asyncio.sleep(0)

    assert {sum(each) for each in seen} == {2}


@simulated
async def test_one_that_is_taken_is_replaced() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=2048, runtimes=TWO) as pool:
        await idle()

        taken = Holder(pool)
        await idle()

        assert (taken.warm, taken.prewarmed, taken.reason) == (False, True, StartReason.NEW)
        assert (counts(pool), workshop.created) == ((2, 0), 3)
        (cold_start,) = pool.snapshot().recent
        assert (cold_start.prewarmed, cold_start.container[-2:]) == (True, "_1")
        await taken.release()
        assert await use(pool) is True


@simulated
async def test_the_oldest_is_taken_first() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=2048, runtimes=TWO) as pool:
        await idle()
        holders = [Holder(pool, name) for name in "ab"]
        await idle()

        assert [holder.container[-2:] for holder in holders] == ["_1", "_2"]
        for holder in holders:
            await holder.release()


@simulated
@pytest.mark.parametrize(
    ("memory", "kind"), [(128, "python:3"), (512, "python:3"), (256, "python:2"), (256, "blackbox")]
)
async def test_only_exactly_the_same_kind_and_memory_are_taken(memory: int, kind: str) -> None:
    """Spec 10.2."""
    async with a_pool(Workshop(), memory=2048, runtimes=ONE) as pool:
        await idle()

        async with pool.lease(*a_task(memory=memory, runtime=a_runtime(kind=kind))) as lease:
            assert lease.prewarmed is False

        assert counts(pool) == (1, 0)


@simulated
async def test_what_does_not_fit_is_skipped_until_there_is_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Spec 10.6.1."""
    caplog.set_level("INFO", "invoker.pool")
    workshop = Workshop()
    async with a_pool(workshop, memory=512, runtimes=TWO) as pool:
        busy = Holder(pool, "large", memory=512)
        await idle()
        before = counts(pool)
        await asyncio.sleep(30)

        busy.lease.keep = False  # type: ignore[union-attr]
        await busy.cancel()
        await idle()

        assert (before, counts(pool)) == ((0, 0), (2, 0))
        assert workshop.most_memory == 512 * MB

    assert caplog.text.count("no memory for 2 prewarmed python:3 containers of 256 MB") == 1


@simulated
async def test_who_waits_for_memory_comes_first() -> None:
    async with a_pool(Workshop(), memory=768, runtimes=TWO) as pool:
        await idle()
        busy = Holder(pool, "busy", keep=False)
        await idle()
        large = Holder(pool, "large", memory=512)
        await idle()

        assert large.has_it.is_set()  # the two made room, and none took their place before
        assert counts(pool) == (0, 0)
        await busy.release()
        await large.release()


@simulated
async def test_they_make_room_after_what_is_idle() -> None:
    """T78: they are no reason to wait, and no reason to throw away what is known to be wanted less."""
    workshop = Workshop()
    async with a_pool(workshop, memory=512, runtimes=ONE) as pool:
        await idle()
        await run(pool, "idle", seconds=0)  # takes the prewarmed one; another takes its place
        await idle()
        assert (counts(pool), pool.count(State.IDLE)) == ((1, 0), 1)

        async with pool.lease(*a_task("other", memory=128)):
            after = (counts(pool), pool.count(State.IDLE))

        assert after == ((1, 0), 0)


@simulated
async def test_the_memory_of_one_that_is_being_started_serves_who_waits_as_soon_as_it_is_ready() -> None:
    workshop = Workshop(start=1.0)
    async with a_pool(workshop, memory=256, runtimes=ONE) as pool:
        await idle()
        same, other = Holder(pool), Holder(pool, "other", memory=128)
        await waiting(pool, 2)

        await asyncio.sleep(1)
        taken = (same.has_it.is_set(), same.prewarmed)
        await same.release()
        await asyncio.sleep(1.1)

        assert taken == (True, True)
        assert other.has_it.is_set()
        await other.release()


@simulated
async def test_the_memory_of_one_of_another_kind_too() -> None:
    workshop = Workshop(start=1.0)
    async with a_pool(workshop, memory=256, runtimes=ONE) as pool:
        await idle()
        other = Holder(pool, "other", memory=128)
        await waiting(pool, 1)

        await asyncio.sleep(2.1)

        assert other.has_it.is_set()
        await other.release()


@simulated
async def test_those_that_stood_back_are_started_when_nobody_waits_any_more() -> None:
    """Memory is free, but not enough for the one who waits."""
    workshop = Workshop()
    async with a_pool(workshop, memory=768, runtimes=ONE) as pool:
        busy = Holder(pool, "busy", memory=512)
        await idle()
        large = Holder(pool, "large", memory=768)
        await waiting(pool, 1)
        workshop.shells[-1].die()
        await asyncio.sleep(5)
        before = counts(pool)

        await large.cancel()
        await idle()

        assert (before, counts(pool)) == ((0, 0), (1, 0))
        await busy.release()


@simulated
async def test_one_that_dies_is_replaced() -> None:
    workshop = Workshop()
    async with a_pool(workshop, runtimes=ONE) as pool:
        await asyncio.sleep(100)
        workshop.shells[0].die()
        await idle()
        before = (counts(pool), pool.memory_used)
        await asyncio.sleep(1.1)

        assert (before, counts(pool), workshop.created) == (((0, 0), 0), (1, 0), 2)


async def just_taken(pool: Pool, workshop: Workshop) -> Holder:
    """Return one who was granted a prewarmed container, and doesn't know yet."""
    taker = Holder(pool, keep=False)
    await waiting(pool, 1)
    workshop.creating.set()
    while pool.waiting:
        await asyncio.sleep(0)
    assert not taker.has_it.is_set()
    return taker


@simulated
async def test_one_that_dies_when_it_was_just_taken_is_the_takers_business() -> None:
    workshop = Workshop()
    workshop.creating.clear()
    async with a_pool(workshop, memory=256, runtimes=ONE) as pool:
        taker = await just_taken(pool, workshop)
        workshop.shells[0].die()
        await taker.has_it.wait()
        (action,) = pool._containers.actions.values()
        during = (taker.prewarmed, pool.memory_used, workshop.removed, action.containers)
        await taker.release()
        await idle()

        assert during == (True, 256 * MB, 0, set())
        assert (workshop.removed, pool.memory_used, workshop.memory) == (1, 256 * MB, 256 * MB)  # of its replacement


@simulated
@pytest.mark.parametrize("dies", [False, True])
async def test_one_that_is_taken_by_who_is_cancelled_at_that_moment_goes_once(*, dies: bool) -> None:
    workshop = Workshop()
    workshop.creating.clear()
    async with a_pool(workshop, memory=256, runtimes=ONE) as pool:
        taker = await just_taken(pool, workshop)
        if dies:
            workshop.shells[0].die()
        await taker.cancel()
        await idle()

        assert (workshop.removed, pool.memory_used, workshop.memory) == (1, 256 * MB, 256 * MB)


@simulated
async def test_leaving_while_they_start_leaves_nothing() -> None:
    workshop = Workshop(start=1.0)
    async with a_pool(workshop, runtimes=TWO) as pool:
        await asyncio.sleep(0.5)
        assert counts(pool) == (0, 2)

    assert (workshop.shells, pool.memory_used) == ([], 0)


@simulated
async def test_leaving_before_their_starts_have_begun_leaves_nothing() -> None:
    workshop = Workshop()
    async with a_pool(workshop, runtimes=TWO) as pool:
        pool._scheduler.prewarmer.backfill(clock())

    assert (workshop.attempts, workshop.shells, pool.memory_used) == (0, [], 0)


@simulated
async def test_the_budget_may_be_smaller_than_a_prewarmed_container() -> None:
    workshop = Workshop()
    async with a_pool(workshop, runtimes=ONE, memory=ByteSize(128)) as pool:
        await asyncio.sleep(1000)

        assert (workshop.attempts, pool.memory_used) == (0, 0)


@simulated
async def test_a_function_that_nobody_knows_takes_those_that_are_there_and_waits_then() -> None:
    workshop = Workshop(start=1.0)
    async with a_pool(workshop, memory=4096, runtimes=TWO) as pool:
        await asyncio.sleep(1)

        holders = [Holder(pool) for _ in range(3)]
        await waiting(pool, 1)

        assert [holder.prewarmed for holder in holders] == [True, True, False]
        await holders[0].release()
        await idle()
        assert holders[2].warm
        await release_all(*holders[1:])


@simulated
async def test_an_action_that_is_known_to_be_quick_waits_for_its_own_container_rather_than_take_another() -> None:
    async with a_pool(Workshop(start=1.0), memory=4096, runtimes=TWO) as pool:
        await asyncio.sleep(1.1)
        for _ in range(8):
            await run(pool, seconds=0.001)
        await asyncio.sleep(1.1)
        busy = Holder(pool)
        await idle()

        patient = Holder(pool)
        await waiting(pool, 1)

        assert counts(pool) == (2, 0)
        await release_all(busy, patient)
