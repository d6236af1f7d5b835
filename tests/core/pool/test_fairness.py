"""Who waits for memory, and who gets it: fair, and sparing with warm containers (core/decisions/0006)."""

import asyncio

from invoker.pool import Pool, StartReason
from tests.core.pool.holders import Holder, release_all, use, waiting
from tests.core.pool.workshop import Workshop, a_pool, a_task
from tests.core.simulation import idle, simulated


@simulated
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


@simulated
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


@simulated
async def test_the_head_of_the_queue_is_not_overtaken_for_ever() -> None:
    async with a_pool(Workshop(), memory=256) as pool:
        first = Holder(pool, "hello")
        await first.has_it.wait()
        stranger = Holder(pool, "stranger")
        await waiting(pool, 1)
        same = Holder(pool, "hello")
        await waiting(pool, 2)

        await asyncio.sleep(11)  # its patience is 10 s
        await first.release()
        await stranger.has_it.wait()

        assert not same.has_it.is_set()
        await stranger.release()
        await same.release()


@simulated
async def test_a_head_whose_function_is_served_by_its_own_containers_evicts_nobody() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=512) as pool:
        ours, theirs = Holder(pool, "hello"), Holder(pool, "stranger")
        await ours.has_it.wait()
        await theirs.has_it.wait()
        queued = []
        for number, name in enumerate(("hello", "hello", "stranger"), 1):
            queued.append(Holder(pool, name))
            await waiting(pool, number)
        second, third, same = queued

        await asyncio.sleep(11)  # beyond the patience of all
        await ours.release()
        await second.has_it.wait()
        await theirs.release()
        await same.has_it.wait()

        assert (second.warm, same.warm, third.has_it.is_set(), workshop.created) == (True, True, False, 2)
        for holder in (second, third, same):
            await holder.release()


@simulated
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


@simulated
async def test_memory_granted_to_one_who_is_cancelled_at_that_moment_is_not_lost() -> None:
    async with a_pool(Workshop(), memory=256) as pool:
        busy = Holder(pool, "busy", keep=False)
        await busy.has_it.wait()
        waiter = Holder(pool, "waiter")
        await waiting(pool, 1)
        busy.done.set()
        while pool.waiting:
            await asyncio.sleep(0)

        await waiter.cancel()

        await busy.task
        assert await use(pool, "next") is False


@simulated
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

        await waiter.cancel()

        await busy.task
        assert (await use(pool), workshop.created) == (True, 1)


@simulated
async def test_who_gives_up_at_the_moment_when_a_container_is_free_is_not_given_it() -> None:
    async with a_pool(Workshop(), memory=256) as pool:
        busy = Holder(pool)
        await idle()
        first, second = Holder(pool), Holder(pool)
        await waiting(pool, 2)

        busy.done.set()
        first.task.cancel()
        await idle()

        assert (first.has_it.is_set(), second.warm) == (False, True)
        await second.release()


@simulated
async def test_who_moved_and_waits_for_memory_still_does_when_its_function_loses_a_container() -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        ours, busy = Holder(pool), Holder(pool, "busy", keep=False)
        await idle()
        moved = Holder(pool, moved=True)
        await waiting(pool, 1)
        workshop.removing.clear()
        workshop.shells[0].die()
        await idle()
        await busy.release()
        workshop.removing.set()
        await moved.has_it.wait()

        assert moved.reason is StartReason.MOVED
        await release_all(ours, moved)
