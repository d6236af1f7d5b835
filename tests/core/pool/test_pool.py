"""The pool: warm reuse, memory, and nothing that is left over."""

import asyncio
import random
import re

import pytest

from invoker.config import NodeSettings
from invoker.errors import StartFailed
from invoker.pool import Pool, State
from tests.core.pool.holders import Holder, use, waiting
from tests.core.pool.workshop import MB, Workshop, a_pool, a_task
from tests.core.simulation import idle, simulated


@simulated
async def test_a_kept_container_is_warm_for_the_next() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        assert [await use(pool), await use(pool)] == [False, True]
        assert workshop.created == 1


@simulated
async def test_a_container_that_is_not_kept_is_removed() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool, keep=False)
        await idle()

        assert (workshop.removed, await use(pool), workshop.created) == (1, False, 2)


@simulated
async def test_a_container_that_was_not_initialised_is_not_kept_whatever_is_said() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        async with pool.lease(*a_task()) as lease:
            lease.keep = True
        await idle()

        assert (workshop.removed, await use(pool)) == (1, False)


@simulated
async def test_whatever_breaks_in_a_lease_nobody_gets_its_container() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        with pytest.raises(LookupError):
            async with pool.lease(*a_task()):
                raise LookupError
        await idle()

        assert (workshop.removed, await use(pool)) == (1, False)


@pytest.mark.parametrize(("name", "namespace"), [("hello", "zoe"), ("other", "guest")])
@simulated
async def test_another_caller_or_function_never_shares(name: str, namespace: str) -> None:
    """Spec 10.2.3."""
    async with a_pool(Workshop()) as pool:
        await use(pool)

        assert await use(pool, name, namespace=namespace) is False


@simulated
async def test_leaving_removes_every_container() -> None:
    workshop = Workshop()

    async with a_pool(workshop, memory=2048) as pool:
        for name in ("a", "b", "c"):
            await use(pool, name)

    assert workshop.shells == []
    assert pool.memory_used == 0


@simulated
async def test_names_tell_the_invoker_and_its_life_and_not_whom_a_container_is_for() -> None:
    """Unlike spec 10.9.1: whoever is on the network of containers can ask for their names."""
    names = []
    for _ in range(2):
        workshop = Workshop()
        async with a_pool(workshop) as pool:
            await use(pool, "resize", namespace="zoe")
            names.append(workshop.shells[0].name)
            (shown,) = pool.snapshot().containers

        assert (shown.name, shown.namespace, shown.action) == (names[-1], "zoe", "guest/resize")

    assert all(re.fullmatch(r"wsk7_[0-9a-f]{8}_1", name) for name in names)
    assert names[0] != names[1]


@simulated
async def test_names_carry_the_invokers_own_name_with_what_an_engine_takes_of_it() -> None:
    """Spec 10.9.1; an engine takes no other characters, and at most 255 of them."""
    workshop = Workshop()
    async with a_pool(workshop, node=NodeSettings(id=3, unique_name="node-b.1/ö" + "x" * 300)) as pool:
        await use(pool)
        await use(pool, "another")

        names = [shell.name for shell in workshop.shells]

    assert all(name.startswith("wsknode-b.1x") and len(name) < 200 for name in names)
    assert [name.rpartition("_")[2] for name in names] == ["1", "2"]


@simulated
async def test_memory_is_made_by_evicting_what_was_idle_longest() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool, "old")
        await use(pool, "new")

        await use(pool, "third")

        assert await use(pool, "new") is True
        assert workshop.most_memory <= 512 * MB


@simulated
async def test_memory_counts_until_a_removed_container_is_gone() -> None:
    """T76: re-checked, never above the budget."""
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool, "large", memory=512)
        workshop.removing.clear()
        holder = Holder(pool, "other", memory=512)
        await waiting(pool, 1)
        meanwhile = (pool.count(State.REMOVING), holder.has_it.is_set(), pool.memory_used)
        workshop.removing.set()
        await holder.has_it.wait()
        await holder.release()

    assert meanwhile == (1, False, 512 * MB)
    assert workshop.most_memory == 512 * MB


@simulated
async def test_nothing_is_evicted_in_vain() -> None:
    """Spec 10.4.2: only if together they make the difference."""
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        busy = Holder(pool, "busy")
        await busy.has_it.wait()
        await use(pool, "idle")
        large = Holder(pool, "large", memory=512)
        await waiting(pool, 1)

        idle = pool.count(State.IDLE)

        await busy.release()
        await large.has_it.wait()
        await large.release()
        assert idle == 1


@simulated
async def test_a_start_that_fails_gives_its_memory_back() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=256) as pool:
        workshop.failing = True
        with pytest.raises(StartFailed):
            await use(pool)
        workshop.failing = False

        assert await use(pool) is False


@simulated
async def test_a_start_that_is_cancelled_gives_its_memory_back() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=256) as pool:
        workshop.creating.clear()
        starting = Holder(pool)
        while pool.count(State.STARTING) == 0:
            await asyncio.sleep(0)
        starting.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting.task
        workshop.creating.set()

        assert (await use(pool), pool.memory_used) == (False, 256 * MB)


@simulated
async def test_an_idle_container_that_dies_is_nobodys() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool)
        workshop.shells[0].die()
        await idle()
        assert workshop.shells == []

        assert await use(pool) is False


@simulated
async def test_a_busy_container_that_dies_is_not_kept() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        async with pool.lease(*a_task()) as lease:
            lease.initialised(None)
            lease.keep = True
            workshop.shells[0].die()

        assert await use(pool) is False


@simulated
async def test_what_is_idle_for_too_long_is_removed() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool, "old")
        await asyncio.sleep(500)
        await use(pool, "young")

        await asyncio.sleep(200)

        assert await use(pool, "young") is True
        assert await use(pool, "old") is False


@simulated
async def test_a_removal_that_fails_is_logged_and_gives_the_memory_back(caplog: pytest.LogCaptureFixture) -> None:
    workshop = Workshop()
    workshop.stubborn = True
    async with a_pool(workshop, memory=256) as pool:
        await use(pool, "first", keep=False)

        assert await use(pool, "second", keep=False) is False

    assert "it clings" in caplog.text


@simulated
async def test_the_most_that_a_container_used_is_known() -> None:
    async with a_pool(Workshop()) as pool:
        await use(pool)

        assert await pool.peak_memory() == 7


@simulated
async def test_a_crowd_never_exceeds_the_budget_and_everybody_is_served() -> None:
    chance = random.Random(7)
    workshop = Workshop()
    served = 0

    async def visitor(pool: Pool) -> None:
        nonlocal served
        async with pool.lease(*a_task(f"f{chance.randrange(6)}", memory=chance.choice([128, 256, 512]))) as lease:
            lease.keep = chance.random() < 0.8
            if not lease.warm:
                lease.initialised(None)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        served += 1

    async with a_pool(workshop, memory=1024) as pool:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(500):
                tasks.create_task(visitor(pool))
        await idle()

        assert (pool.memory_used, pool.waiting, pool.count(State.REMOVING)) == (workshop.memory, 0, 0)
    assert served == 500
    assert workshop.most_memory <= 1024 * MB
    assert (workshop.shells, pool.memory_used) == ([], 0)
