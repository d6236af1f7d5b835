"""A runtime that has no room for another container now: the activation waits, and nothing is lost (see `NoRoom`)."""

import asyncio
from itertools import pairwise

import pytest

from invoker.entities.runtimes import PrewarmConfig
from invoker.errors import StartFailed
from invoker.pool import Pool, StartReason, State, WaitReason
from invoker.pool.lifecycle import FIRST_BACK_OFF, LAST_BACK_OFF
from tests.core.pool.holders import Holder, attempts, release_all, use, waiting, warmed
from tests.core.pool.workshop import MB, Workshop, a_pool, with_prewarm
from tests.core.simulation import clock, idle, simulated

ONE = with_prewarm(PrewarmConfig(count=1, memory=256 * MB))


@simulated
async def test_who_finds_no_room_waits_until_a_container_has_gone() -> None:
    workshop = Workshop()
    workshop.room = 1
    async with a_pool(workshop) as pool:
        busy = Holder(pool, "busy", keep=False)
        other = Holder(pool, "other")
        await waiting(pool, 1)
        refused = (workshop.attempts, pool.memory_used, pool.count(State.STARTING), pool.waits[WaitReason.ROOM])

        await busy.release()
        await idle()

        assert refused == (2, 256 * MB, 0, 1)
        assert (other.reason, workshop.attempts) == (StartReason.NEW, 3)
        assert pool.starts[StartReason.NEW] == len(pool.snapshot().recent) == 2
        await other.release()


@simulated
async def test_where_no_container_could_go_it_is_tried_again_later_and_later() -> None:
    workshop = Workshop()
    workshop.room = 0
    async with a_pool(workshop) as pool:
        holder = Holder(pool)
        times = await attempts(workshop, 9, step=0.001)
        workshop.room = 1
        await asyncio.sleep(LAST_BACK_OFF)

        pauses = [after - before for before, after in pairwise(times)]
        assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], abs=0.01)
        assert holder.has_it.is_set()
        await holder.release()


@simulated
async def test_once_there_was_room_the_next_refusal_counts_as_the_first() -> None:
    workshop = Workshop()
    workshop.room = 0
    async with a_pool(workshop) as pool:
        first = Holder(pool, "first")
        await asyncio.sleep(4)
        workshop.room = 1
        await first.has_it.wait()
        second = Holder(pool, "second")
        times = await attempts(workshop, 3, step=0.001)

        assert times == pytest.approx([0, 0.1, 0.3], abs=0.01)
        workshop.room = 2
        await second.has_it.wait()
        await release_all(first, second)


@simulated
async def test_idle_containers_make_room_the_oldest_first_and_no_more_than_needed() -> None:
    workshop = Workshop()
    workshop.room = 3
    async with a_pool(workshop, memory=2048) as pool:
        for name in ("old", "middle", "young"):
            await use(pool, name)

        newcomer = Holder(pool)
        await idle()

        assert (newcomer.reason, pool.count(State.IDLE)) == (StartReason.NEW, 2)
        assert [await use(pool, name) for name in ("middle", "young")] == [True, True]
        await newcomer.release()


@simulated
async def test_prewarmed_containers_make_room_after_those_that_are_idle() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=2048, runtimes=ONE) as pool:
        await idle()
        await use(pool, "idle", memory=128)
        workshop.room = 2
        counts = []
        holders = []
        for name in ("first", "second"):
            holders.append(Holder(pool, name, memory=128))
            await idle()
            counts.append((pool.count(State.IDLE), pool.count(State.PREWARMED), holders[-1].has_it.is_set()))

        assert counts == [(0, 1, True), (0, 0, True)]
        await release_all(*holders)


@simulated
async def test_no_more_are_evicted_while_one_is_being_removed() -> None:
    workshop = Workshop()
    workshop.room = 2
    async with a_pool(workshop, memory=2048) as pool:
        for name in ("a", "b"):
            await use(pool, name)
        workshop.removing.clear()
        newcomer = Holder(pool)
        await asyncio.sleep(1)

        assert (pool.count(State.REMOVING), pool.count(State.IDLE)) == (1, 1)
        workshop.removing.set()
        await newcomer.has_it.wait()
        await newcomer.release()


@simulated
async def test_it_keeps_its_place_before_all_who_came_later() -> None:
    workshop = Workshop()
    workshop.room = 1
    async with a_pool(workshop) as pool:
        busy = Holder(pool, "busy", keep=False)
        await idle()
        holders = []
        for number, name in enumerate(("first", "second", "third"), 1):
            holders.append(Holder(pool, name, keep=False))
            await waiting(pool, number)
        order = []
        for holder in (busy, *holders):
            await holder.has_it.wait()
            order.append([one.has_it.is_set() for one in holders].count(True))
            await holder.release()

        assert order == [0, 1, 2, 3]


@simulated
async def test_a_share_that_comes_free_serves_it_too() -> None:
    workshop = Workshop()
    workshop.room = 1
    async with a_pool(workshop) as pool:
        busy = Holder(pool)
        await idle()
        moved = Holder(pool, moved=True)
        await waiting(pool, 1)

        await busy.release()
        await idle()

        assert (moved.warm, workshop.created) == (True, 1)
        await moved.release()


@simulated
async def test_those_who_joined_wait_on_with_it_in_their_order_and_none_fails() -> None:
    workshop = Workshop(start=0.01)
    workshop.room = 1
    async with a_pool(workshop, memory=2048, concurrency=3) as pool:
        busy = Holder(pool, "busy", keep=False)
        await busy.has_it.wait()
        holders = [Holder(pool, concurrency=3) for _ in range(4)]
        await asyncio.sleep(0.05)
        refused = (pool.waiting, pool.waits[WaitReason.ROOM])

        await busy.release()
        await asyncio.sleep(0.05)

        assert refused == (4, 3)
        assert [holder.has_it.is_set() for holder in holders] == [True, True, True, False]
        assert [holder.warm for holder in holders[:3]] == [False, True, True]
        await holders[1].release()
        await idle()
        assert holders[3].warm
        await release_all(holders[0], *holders[2:])


@simulated
@pytest.mark.parametrize("victim", [0, 1, 2])
async def test_who_is_cancelled_while_it_waits_for_room_leaves_the_others_theirs(victim: int) -> None:
    workshop = Workshop(start=0.01)
    workshop.room = 1
    async with a_pool(workshop, memory=2048, concurrency=3) as pool:
        busy = Holder(pool, "busy", keep=False)
        await busy.has_it.wait()
        holders = [Holder(pool, concurrency=3) for _ in range(3)]
        await asyncio.sleep(0.05)

        await holders.pop(victim).cancel()
        await waiting(pool, 2)
        await busy.release()
        await asyncio.sleep(0.05)

        assert [holder.warm for holder in holders] == [False, True]
        assert (pool.waiting, pool.memory_used) == (0, 256 * MB)
        await release_all(*holders)


@simulated
async def test_when_the_only_one_is_cancelled_nothing_is_left() -> None:
    workshop = Workshop()
    workshop.room = 0
    async with a_pool(workshop) as pool:
        holder = Holder(pool)
        await waiting(pool, 1)
        await holder.cancel()
        before = workshop.attempts
        await asyncio.sleep(100)

        assert (workshop.attempts, pool.waiting, pool.memory_used) == (before, 0, 0)


@simulated
async def test_one_who_joined_and_is_cancelled_in_the_step_of_the_refusal_is_gone() -> None:
    workshop = Workshop()
    workshop.creating.clear()
    workshop.room = 0
    async with a_pool(workshop, concurrency=3) as pool:
        first, second, third = (Holder(pool, concurrency=3) for _ in range(3))
        await idle()
        workshop.creating.set()
        second.task.cancel()
        await waiting(pool, 2)
        workshop.room = 1
        await asyncio.sleep(FIRST_BACK_OFF)

        assert (first.warm, third.warm, second.task.cancelled()) == (False, True, True)
        await release_all(first, third)


@simulated
async def test_while_there_is_no_room_one_is_tried_at_a_time() -> None:
    workshop = Workshop()
    workshop.room = 0
    workshop.creating.clear()
    async with a_pool(workshop, memory=2048, parallel_starts=4) as pool:
        holders = [Holder(pool, f"f{number}") for number in range(8)]
        await idle()
        together = workshop.attempts
        workshop.creating.set()
        await asyncio.sleep(1.6)
        one_by_one = workshop.attempts - together
        workshop.room = 8
        await asyncio.sleep(LAST_BACK_OFF)

        assert (together, one_by_one) == (4, 4)
        assert (workshop.created, pool.waiting) == (8, 0)
        await release_all(*holders)


@simulated
@pytest.mark.parametrize("end", ["fails", "is cancelled"])
async def test_it_is_tried_again_when_another_that_was_being_created_is_given_up(end: str) -> None:
    workshop = Workshop()
    async with a_pool(workshop) as pool:
        workshop.creating.clear()
        other = Holder(pool, "other")
        await idle()
        workshop.creating = refused = asyncio.Event()
        refused.set()
        workshop.room = 0
        holder = Holder(pool)
        await waiting(pool, 1)
        workshop.room = 1
        began = clock()
        if end == "fails":
            other.task.cancel()
        else:
            await other.cancel()
        await holder.has_it.wait()

        assert clock() - began < FIRST_BACK_OFF / 2
        await holder.release()


@simulated
async def test_a_refusal_is_no_loss_and_changes_no_reason() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=256) as pool:
        await use(pool, "ours")
        await use(pool, "other", keep=False)
        workshop.room = 0
        ours = Holder(pool, "ours")
        await asyncio.sleep(1)
        workshop.room = 1
        await ours.has_it.wait()

        assert ours.reason is StartReason.EVICTED
        assert pool._containers.actions.get((b"ours 256", "guest", None)).loss is None  # type: ignore[union-attr]
        await ours.release()


@simulated
async def test_who_had_waited_in_vain_does_not_wait_once_more_for_that() -> None:
    workshop = Workshop(start=10.0)
    async with a_pool(workshop, memory=2048) as pool:
        for _ in range(8):
            await use(pool)
        busy, other = Holder(pool), Holder(pool, "other", keep=False)
        await other.has_it.wait()
        workshop.room = 2
        patient = Holder(pool)
        while not pool.waits[WaitReason.ROOM]:
            await asyncio.sleep(0.1)

        await other.release()
        await asyncio.sleep(10.1)

        assert (patient.has_it.is_set(), patient.reason) == (True, StartReason.OVERDUE)
        await release_all(busy, patient)


@simulated
async def test_who_is_refused_late_and_would_rather_wait_by_then_is_overdue_all_the_same() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, memory=2048) as pool:
        await warmed(pool, 1, seconds=0.2)
        busy = Holder(pool)
        await idle()
        workshop.creating = late = asyncio.Event()
        refused = Holder(pool)
        await idle()
        workshop.creating = asyncio.Event()
        workshop.creating.set()
        moved = Holder(pool, moved=True)
        await moved.has_it.wait()
        workshop.room = 2
        await asyncio.sleep(0.1)
        late.set()
        await asyncio.sleep(0.15)
        before = (pool.waiting, pool.waits[WaitReason.ROOM])
        workshop.room = 3
        await asyncio.sleep(LAST_BACK_OFF)

        assert before == (1, 1)
        assert refused.reason is StartReason.OVERDUE
        await release_all(busy, moved, refused)


@simulated
async def test_a_start_that_fails_for_another_reason_still_fails() -> None:
    workshop = Workshop()
    workshop.room = 0
    async with a_pool(workshop) as pool:
        holder = Holder(pool)
        await waiting(pool, 1)
        workshop.failing = True

        with pytest.raises(StartFailed):
            await holder.task

        assert pool.starts[StartReason.NEW] == 1


# --- prewarmed ones -------------------------------------------------------------------------------------------------


def state_of(pool: Pool) -> tuple[int, int, str | None]:
    (prewarmed,) = pool.snapshot().prewarmed
    return prewarmed.ready, prewarmed.starting, prewarmed.failure


@simulated
async def test_a_prewarmed_container_without_room_is_tried_again_later_and_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "invoker.pool")
    workshop = Workshop()
    workshop.room = 0
    async with a_pool(workshop, runtimes=ONE) as pool:
        times = await attempts(workshop, 8, step=0.001)
        before = (state_of(pool), pool.memory_used)
        workshop.room = 1
        await asyncio.sleep(LAST_BACK_OFF)

        pauses = [after - before for before, after in pairwise(times)]
        assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0], abs=0.01)
        assert before == ((0, 0, "no address is free"), 0)
        assert state_of(pool) == (1, 0, None)

    assert caplog.text.count("no room for 1 prewarmed python:3 containers of 256 MB") == 1
    assert "could be prewarmed" not in caplog.text


@simulated
async def test_who_waits_for_room_comes_before_a_prewarmed_container() -> None:
    workshop = Workshop()
    workshop.room = 0
    async with a_pool(workshop, memory=2048, runtimes=ONE) as pool:
        await idle()
        holder = Holder(pool, memory=128)
        await asyncio.sleep(1)
        workshop.room = 1
        await asyncio.sleep(LAST_BACK_OFF)

        assert (holder.has_it.is_set(), state_of(pool)[0]) == (True, 0)
        await holder.release()


@simulated
async def test_a_pool_that_is_left_while_it_waits_for_room_leaves_nothing() -> None:
    workshop = Workshop()
    workshop.room = 0
    async with a_pool(workshop, runtimes=ONE):
        await asyncio.sleep(1)
    attempts_before = workshop.attempts
    await asyncio.sleep(100)

    assert workshop.attempts == attempts_before
