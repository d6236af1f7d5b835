"""Which containers go when others need their memory: never worse than the least recently used (spec 10.4)."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Sequence

import pytest

from invoker.pool import Pool
from tests.core.pool.holders import run, use
from tests.core.pool.workshop import MB, Workshop, a_pool
from tests.core.simulation import idle, simulated

ROOM = 8
FUNCTIONS = 20


def a_day(seed: int, *, count: int = 1000) -> list[str]:
    """Return who is asked for, one after the other: some far more often, and not always the same ones."""
    chance = random.Random(seed)
    day: list[str] = []
    for _ in range(4):
        names = [f"f{number}" for number in range(FUNCTIONS)]
        chance.shuffle(names)
        weights = [1 / (rank + 1) for rank in range(FUNCTIONS)]
        day += chance.choices(names, weights, k=count // 4)
    return day


def misses_of_lru(day: Sequence[str], room: int) -> int:
    """Return how often who is asked for is not among the `room` that were asked for last."""
    kept: OrderedDict[str, None] = OrderedDict()
    misses = 0
    for name in day:
        if name not in kept:
            misses += 1
            if len(kept) == room:
                kept.popitem(last=False)
        kept[name] = None
        kept.move_to_end(name)
    return misses


def test_the_yardstick() -> None:
    assert misses_of_lru(["a", "b", "a", "c", "b", "a"], 2) == 5
    assert misses_of_lru(["a", "b", "a", "c", "b", "a"], 3) == 3


@simulated
@pytest.mark.parametrize("seed", range(3))
async def test_one_after_the_other_there_are_no_more_cold_starts_than_with_lru(seed: int) -> None:
    day = a_day(seed)
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=ROOM * 256) as pool:
        for name in day:
            await use(pool, name)

    assert workshop.created <= misses_of_lru(day, ROOM)
    assert workshop.most_memory <= ROOM * 256 * MB


async def created_by(clients: int, day: Sequence[str], *, scale_out: str) -> int:
    """Have so many clients share a day's work; return how many containers that took."""
    workshop = Workshop(start=0.1)
    rest = iter(day)

    async def client(pool: Pool) -> None:
        for name in rest:
            await run(pool, name, seconds=0.005)

    async with a_pool(workshop, memory=ROOM * 256, scale_out=scale_out) as pool, asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client(pool))
    assert workshop.most_memory <= ROOM * 256 * MB
    return workshop.created


@simulated
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("clients", [2, 4])
async def test_several_at_once_there_are_no_more_than_with_lru_in_what_they_leave(seed: int, clients: int) -> None:
    """What the others use can't go. Those of one function wait for its container rather than start a second one."""
    day = a_day(seed)

    created = await created_by(clients, day, scale_out="expected")

    assert created <= misses_of_lru(day, ROOM - clients + 1)
    assert created < await created_by(clients, day, scale_out="always")


@simulated
async def test_a_thousand_at_once_stay_within_the_memory_and_are_all_served() -> None:
    day = a_day(0)
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=ROOM * 256) as pool:
        async with asyncio.TaskGroup() as tasks:
            for name in day:
                tasks.create_task(run(pool, name, seconds=0.005))
        await idle()

        assert (pool.memory_used, pool.waiting) == (workshop.memory, 0)
    assert workshop.created <= misses_of_lru(day, ROOM)
    assert workshop.most_memory <= ROOM * 256 * MB


@simulated
async def test_sizes_mix_and_the_memory_is_never_exceeded() -> None:
    chance = random.Random(11)
    sizes = {f"f{number}": chance.choice([128, 256, 512]) for number in range(FUNCTIONS)}
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=ROOM * 256) as pool:
        async with asyncio.TaskGroup() as tasks:
            for name in a_day(11):
                tasks.create_task(run(pool, name, seconds=chance.choice([0.0, 0.01, 0.3]), memory=sizes[name]))
                await asyncio.sleep(chance.choice([0.0, 0.002, 0.05]))
        await idle()

        assert (pool.memory_used, pool.waiting) == (workshop.memory, 0)
    assert workshop.most_memory <= ROOM * 256 * MB
    assert (pool.memory_used, workshop.shells) == (0, [])
