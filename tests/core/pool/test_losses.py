"""Functions that cost their containers: who waits doesn't count on what will not be there. In simulated time."""

import asyncio
from typing import Final

import pytest

from invoker.entities.activation import Status
from invoker.errors import Aborted, StartFailed
from invoker.pool import Pool, StartReason, WaitReason
from invoker.testing.builders import an_outcome
from tests.core.pool.holders import INSTANT, PLENTY, Holder, burst, release_all, use, waiting
from tests.core.pool.workshop import Workshop, a_pool, a_task
from tests.core.simulation import idle, simulated

CROWD: Final = 32
FAILED: Final = an_outcome(b'{"error":"no"}', Status.DEVELOPER_ERROR)


async def lose(pool: Pool, way: str, *, concurrency: int) -> None:
    """Use a container so that it can't be used again."""
    try:
        async with pool.lease(*a_task(concurrency=concurrency)) as lease:
            if not lease.warm:
                lease.initialised(FAILED if way == "init" else None)
            if way == "run":
                await asyncio.sleep(INSTANT)
            elif way == "death":
                lease.container.die()  # type: ignore[attr-defined]
                await asyncio.sleep(INSTANT)
    except (Aborted, StartFailed):
        pass


async def crowd(way: str, scale_out: str, *, known: bool, concurrency: int = 1) -> tuple[float, int]:
    """Return how long a crowd takes of which nobody leaves a container to the next one, and how many starts."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY, parallel_starts=4, concurrency=3, scale_out=scale_out) as pool:
        if known:
            for _ in range(8):
                await use(pool)
        loop = asyncio.get_running_loop()
        began, started = loop.time(), workshop.attempts
        workshop.failing = way == "start"
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CROWD):
                tasks.create_task(lose(pool, way, concurrency=concurrency))
        return loop.time() - began, workshop.attempts - started


@simulated
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("way", ["start", "init", "run", "death"])
async def test_a_crowd_on_a_function_that_always_fails_is_done_nearly_as_soon_as_with_a_start_for_each(
    way: str, *, known: bool
) -> None:
    (took, starts), (floor, most) = [await crowd(way, scale_out, known=known) for scale_out in ("expected", "always")]

    assert starts == most
    assert took <= floor + 0.125  # one who was taken for patient


@simulated
async def test_so_is_one_whose_containers_take_several_at_once() -> None:
    (took, _), (floor, _) = [
        await crowd("run", scale_out, known=False, concurrency=3) for scale_out in ("expected", "always")
    ]

    assert took <= floor + 0.125


@simulated
async def test_after_some_that_went_well_a_container_is_counted_on_again() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        await use(pool, keep=False)
        for _ in range(20):
            await use(pool)
        began = workshop.attempts

        await burst(pool, 3, seconds=INSTANT)

        assert workshop.attempts == began


@simulated
async def test_a_start_that_fails_is_no_reason_not_to_wait_for_what_serves() -> None:
    """Otherwise each failure would make more activations try, and fail."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY) as pool:
        for _ in range(8):
            await use(pool)
        busy = Holder(pool)
        await idle()
        workshop.failing = True
        moved = Holder(pool, moved=True)
        patient = [Holder(pool) for _ in range(4)]
        with pytest.raises(StartFailed):
            await moved.task
        await waiting(pool, 4)

        await release_all(busy, *patient)

        assert [holder.warm for holder in patient] == [True] * 4
        assert pool.starts[StartReason.MOVED] == 1


@simulated
async def test_an_activation_that_changes_its_mind_counts_once_for_each_reason() -> None:
    """Of those whose turn to start comes, some think better of it; with each loss they think again."""
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=PLENTY, parallel_starts=4) as pool, asyncio.TaskGroup() as tasks:
        for _ in range(CROWD):
            tasks.create_task(lose(pool, "run", concurrency=1))

    assert pool.waits[WaitReason.SOONER] == CROWD - 1
    assert 0 < pool.waits[WaitReason.STARTS] < CROWD
