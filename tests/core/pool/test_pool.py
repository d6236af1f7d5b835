"""The pool: warm reuse, memory, fairness, and nothing that is left over."""

import asyncio
import random

import pytest

from invoker.errors import StartFailed
from invoker.pool import Pool
from invoker.pool.slot import State
from tests.core.pool.workshop import MB, Clock, Workshop, a_pool, a_task


async def use(
    pool: Pool, name: str = "hello", *, namespace: str = "guest", memory: int = 256, keep: bool = True
) -> bool:
    """Use a container for a moment; return whether it was warm."""
    async with pool.lease(*a_task(name, namespace=namespace, memory=memory)) as lease:
        lease.keep = keep
        if not lease.warm:
            lease.initialised(None)
        return lease.warm


class Holder:
    """Somebody who uses a container until told to stop."""

    def __init__(self, pool: Pool, name: str = "hello", *, memory: int = 256, keep: bool = True) -> None:
        self.has_it = asyncio.Event()
        self.done = asyncio.Event()
        self.warm = False
        self._keep = keep
        self.task = asyncio.create_task(self._hold(pool, name, memory))

    async def _hold(self, pool: Pool, name: str, memory: int) -> None:
        async with pool.lease(*a_task(name, memory=memory)) as lease:
            lease.keep = self._keep
            self.warm = lease.warm
            if not lease.warm:
                lease.initialised(None)
            self.has_it.set()
            await self.done.wait()

    async def release(self) -> None:
        self.done.set()
        await self.task


async def waiting(pool: Pool, count: int) -> None:
    """Let tasks run until `count` of them wait."""
    while pool.waiting < count:
        await asyncio.sleep(0)


async def emptied(workshop: Workshop) -> None:
    """Let removals end."""
    while workshop.shells:
        await asyncio.sleep(0)


async def test_a_kept_container_is_warm_for_the_next() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        assert [await use(pool), await use(pool)] == [False, True]
        assert workshop.created == 1


async def test_a_container_that_is_not_kept_is_removed() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        assert [await use(pool, keep=False), await use(pool)] == [False, False]
        assert workshop.created == 2


async def test_whatever_breaks_in_a_lease_nobody_gets_its_container() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        with pytest.raises(LookupError):
            async with pool.lease(*a_task()):
                raise LookupError

        assert await use(pool) is False


@pytest.mark.parametrize(("name", "namespace"), [("hello", "zoe"), ("other", "guest")])
async def test_another_caller_or_function_never_shares(name: str, namespace: str) -> None:
    """Spec 10.2.3."""
    async with a_pool(Workshop()) as pool:
        await use(pool)

        assert await use(pool, name, namespace=namespace) is False


async def test_leaving_removes_every_container() -> None:
    workshop = Workshop()

    async with a_pool(workshop, memory=2048) as pool:
        for name in ("a", "b", "c"):
            await use(pool, name)

    assert workshop.shells == []
    assert pool.memory_used == 0


async def test_names_carry_the_invoker_and_nothing_unsafe() -> None:
    """Spec 10.9.1."""
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool, "my action/../x", namespace="z&e")

        assert workshop.shells[0].name == "wsk7_1_ze_myactionx"


async def test_memory_is_made_by_evicting_what_was_idle_longest() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool, "old")
        await use(pool, "new")

        await use(pool, "third")

        assert await use(pool, "new") is True
        assert workshop.most_memory <= 512 * MB


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


async def test_who_came_first_is_served_first() -> None:
    """T81: a later, smaller one doesn't overtake."""
    order: list[str] = []
    workshop = Workshop()

    async def queue(pool: Pool, name: str, memory: int) -> None:
        async with pool.lease(*a_task(name, memory=memory)):
            order.append(name)

    async with a_pool(workshop) as pool, asyncio.TaskGroup() as tasks:
        busy = Holder(pool, "busy", memory=512)
        await busy.has_it.wait()
        for number, (name, memory) in enumerate([("large", 512), ("small", 128), ("tiny", 128)], 1):
            tasks.create_task(queue(pool, name, memory))
            await waiting(pool, number)
        await busy.release()

    assert order[0] == "large"
    assert set(order[1:]) == {"small", "tiny"}


async def test_a_free_container_goes_to_its_own_function_rather_than_being_torn_down() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=256) as pool:
        first = Holder(pool, "hello")
        await first.has_it.wait()
        stranger = Holder(pool, "stranger")
        await waiting(pool, 1)
        same = Holder(pool, "hello")
        await waiting(pool, 2)
        await first.release()
        await same.has_it.wait()

        served = (same.warm, stranger.has_it.is_set(), workshop.created)

        await same.release()
        await stranger.has_it.wait()
        await stranger.release()
        assert served == (True, False, 1)


async def test_the_head_of_the_queue_is_not_overtaken_for_ever() -> None:
    clock = Clock()
    async with a_pool(Workshop(), memory=256, clock=clock) as pool:
        first = Holder(pool, "hello")
        await first.has_it.wait()
        stranger = Holder(pool, "stranger")
        await waiting(pool, 1)
        same = Holder(pool, "hello")
        await waiting(pool, 2)

        clock.now += 11  # its patience is 10 s
        await first.release()
        await stranger.has_it.wait()

        assert not same.has_it.is_set()
        await stranger.release()
        await same.release()


async def test_a_head_whose_function_is_served_by_its_own_containers_evicts_nobody() -> None:
    clock = Clock()
    workshop = Workshop()
    async with a_pool(workshop, memory=512, clock=clock) as pool:
        ours, theirs = Holder(pool, "hello"), Holder(pool, "stranger")
        await ours.has_it.wait()
        await theirs.has_it.wait()
        queued = []
        for number, name in enumerate(("hello", "hello", "stranger"), 1):
            queued.append(Holder(pool, name))
            await waiting(pool, number)
        second, third, same = queued

        clock.now += 11  # beyond the patience of all
        await ours.release()
        await second.has_it.wait()
        await theirs.release()
        await same.has_it.wait()

        assert (second.warm, same.warm, third.has_it.is_set(), workshop.created) == (True, True, False, 2)
        for holder in (second, third, same):
            await holder.release()


async def test_who_gives_up_waiting_leaves_the_queue_and_holds_nobody_up() -> None:
    async with a_pool(Workshop(), memory=256) as pool:
        busy = Holder(pool, "busy")
        await busy.has_it.wait()
        given_up = Holder(pool, "given up")
        await waiting(pool, 1)
        patient = Holder(pool, "patient")
        await waiting(pool, 2)

        given_up.task.cancel()
        await busy.release()
        await patient.has_it.wait()

        await patient.release()
        assert pool.waiting == 0


async def test_memory_granted_to_one_who_is_cancelled_at_that_moment_is_not_lost() -> None:
    async with a_pool(Workshop(), memory=256) as pool:
        busy = Holder(pool, "busy", keep=False)
        await busy.has_it.wait()
        waiter = Holder(pool, "waiter")
        await waiting(pool, 1)
        busy.done.set()
        while pool.waiting:
            await asyncio.sleep(0)

        waiter.task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiter.task
        await busy.task
        assert await use(pool, "next") is False


async def test_a_container_handed_to_one_who_is_cancelled_at_that_moment_is_used_by_the_next() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=256) as pool:
        busy = Holder(pool, "hello")
        await busy.has_it.wait()
        waiter = Holder(pool, "hello")
        await waiting(pool, 1)
        busy.done.set()
        while pool.waiting:
            await asyncio.sleep(0)

        waiter.task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiter.task
        await busy.task
        assert (await use(pool), workshop.created) == (True, 1)


async def test_a_start_that_fails_gives_its_memory_back() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=256) as pool:
        workshop.failing = True
        with pytest.raises(StartFailed):
            await use(pool)
        workshop.failing = False

        assert await use(pool) is False


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


async def test_an_idle_container_that_dies_is_nobodys() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        await use(pool)
        workshop.shells[0].output.closed()
        await emptied(workshop)

        assert await use(pool) is False


async def test_a_busy_container_that_dies_is_not_kept() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        async with pool.lease(*a_task()) as lease:
            lease.keep = True
            workshop.shells[0].output.closed()

        assert await use(pool) is False


async def test_what_is_idle_for_too_long_is_removed() -> None:
    clock = Clock()
    workshop = Workshop()
    async with a_pool(workshop, clock=clock) as pool:
        await use(pool, "old")
        clock.now += 500
        await use(pool, "young")
        clock.now += 200

        pool.containers.look_after_idle()

        assert await use(pool, "young") is True
        assert await use(pool, "old") is False


async def test_a_removal_that_fails_is_logged_and_gives_the_memory_back(caplog: pytest.LogCaptureFixture) -> None:
    workshop = Workshop()
    workshop.stubborn = True
    async with a_pool(workshop, memory=256) as pool:
        await use(pool, "first", keep=False)

        assert await use(pool, "second", keep=False) is False

    assert "it clings" in caplog.text


async def test_the_most_that_a_container_used_is_known() -> None:
    async with a_pool(Workshop()) as pool:
        await use(pool)

        assert await pool.peak_memory() == 7


async def test_a_crowd_never_exceeds_the_budget_and_everybody_is_served() -> None:
    chance = random.Random(7)
    workshop = Workshop()
    served = 0

    async def visitor(pool: Pool) -> None:
        nonlocal served
        async with pool.lease(*a_task(f"f{chance.randrange(6)}", memory=chance.choice([128, 256, 512]))) as lease:
            lease.keep = chance.random() < 0.8
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        served += 1

    async with a_pool(workshop, memory=1024) as pool, asyncio.TaskGroup() as tasks:
        for _ in range(500):
            tasks.create_task(visitor(pool))

    assert served == 500
    assert workshop.most_memory <= 1024 * MB
    assert (workshop.shells, pool.memory_used, pool.waiting) == ([], 0, 0)
