"""Several activations in one container (spec 10.12), the first of which initialises it."""

import asyncio
from typing import Any

import pytest

from invoker.entities.activation import Outcome, Status
from invoker.entities.function import Limits
from invoker.errors import Aborted, StartFailed, Unreachable
from invoker.pool import Pool, State
from invoker.pool.actions import ActionContainers
from invoker.testing.builders import a_function, a_runtime, an_executable, an_outcome
from tests.core.pool.holders import Holder, release_all, waiting
from tests.core.pool.workshop import Workshop, a_pool, a_task
from tests.core.simulation import idle, simulated

BROKEN: Outcome = an_outcome(b'{"error":"no main"}', Status.DEVELOPER_ERROR)


def users(pool: Pool, count: int, **settings: object) -> list[Holder]:
    return [Holder(pool, concurrency=3, **settings) for _ in range(count)]  # type: ignore[arg-type]


async def shared(pool: Pool) -> tuple[Holder, Holder, Holder]:
    """Return three in one container."""
    first, second, third = users(pool, 3)
    await idle()
    assert {first.container, second.container, third.container} == {first.container}
    return first, second, third


def action_of(pool: Pool) -> ActionContainers:
    (action,) = pool._containers.actions.values()
    return action


@simulated
async def test_as_many_as_the_function_allows_share_one_container() -> None:
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3, memory=2048) as pool:
        holders = [*users(pool, 3), *users(pool, 1, moved=True)]
        await idle()

        containers = [holder.container for holder in holders]

        assert containers[:3] == [containers[0]] * 3
        assert containers[3] != containers[0]
        assert [holder.warm for holder in holders] == [False, True, True, False]
        await release_all(*holders)
        assert pool.count(State.IDLE) == 2


@simulated
@pytest.mark.parametrize(("runtime", "containers"), [({}, 3), ({"family": "nodejs"}, 1), ({"concurrent": True}, 1)])
async def test_only_a_kind_that_can_has_several_in_one_container(
    runtime: dict[str, Any], containers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With actionloop callers got each other's results."""
    kind = a_runtime(**{"concurrent": None} | runtime)
    workshop = Workshop()
    async with a_pool(workshop, memory=3 * 256, concurrency=3) as pool, asyncio.TaskGroup() as tasks:
        _, request = a_task(concurrency=3)
        executable = an_executable(a_function(limits=Limits(concurrency=3)), kind)
        entered = asyncio.Barrier(4)

        async def once() -> None:
            async with pool.lease(executable, request) as lease:
                if not lease.warm:
                    lease.initialised(None)
                await entered.wait()
                lease.keep = True

        for _ in range(3):
            tasks.create_task(once())
        await entered.wait()
        specs = [shell.spec for shell in workshop.shells]

    environments = {spec.environment.get("__OW_ALLOW_CONCURRENT") for spec in specs}
    assert workshop.created == containers
    assert environments == ({None} if containers == 3 else {"true"})
    assert ("gets 1: kind python:3 can't tell them apart" in caplog.text) is (containers == 3)


@simulated
async def test_one_beyond_them_waits_when_there_is_no_memory_and_gets_the_first_share_that_is_free() -> None:
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3, memory=256) as pool:
        first, second, third = await shared(pool)
        beyond = Holder(pool, concurrency=3)
        await waiting(pool, 1)

        await second.release()
        await idle()

        assert (beyond.warm, beyond.container, workshop.created) == (True, first.container, 1)
        await release_all(first, third, beyond)


@simulated
async def test_those_who_come_during_the_start_wait_for_the_end_of_init() -> None:
    workshop = Workshop(start=1.0)
    async with a_pool(workshop, concurrency=3) as pool:
        first = Holder(pool, concurrency=3, slow=True)
        await asyncio.sleep(0.5)
        second, third = users(pool, 2)
        await asyncio.sleep(1)
        meanwhile = [holder.has_it.is_set() for holder in (first, second, third)]

        first.may_init.set()
        await idle()

        assert meanwhile == [True, False, False]
        assert (second.warm, third.warm, workshop.created) == (True, True, 1)
        await release_all(first, second, third)


@simulated
async def test_those_who_come_during_init_fail_with_it_and_nobody_joins_after() -> None:
    """Spec 10.12.2."""
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3) as pool:
        first = Holder(pool, concurrency=3, slow=True, init=BROKEN)
        await idle()
        second = Holder(pool, concurrency=3)
        await idle()

        first.may_init.set()
        with pytest.raises(Aborted) as aborted:
            await second.task
        later = Holder(pool, concurrency=3)
        await later.has_it.wait()

        assert aborted.value.outcome is BROKEN
        assert (later.warm, later.container == first.container) == (False, False)
        await release_all(first, later)
        await idle()
        assert [shell.name for shell in workshop.shells] == [later.container]


@simulated
@pytest.mark.parametrize("slow", [True, False])
async def test_those_who_wait_for_init_go_elsewhere_when_nobody_calls_it_any_more(*, slow: bool) -> None:
    workshop = Workshop(start=1.0)
    async with a_pool(workshop, concurrency=3) as pool:
        first = Holder(pool, concurrency=3, slow=True)
        await asyncio.sleep(1.5 if slow else 0.5)
        second, third = users(pool, 2)
        await idle()

        await first.cancel()

        for other in (second, third):
            with pytest.raises(Unreachable):
                await other.task
        await idle()
        assert (workshop.shells, pool.memory_used) == ([], 0)


@simulated
async def test_a_start_that_fails_fails_for_all_who_joined() -> None:
    """Spec 10.12.2: as with `/init`; nobody storms a runtime that can't."""
    workshop = Workshop(start=1.0)
    workshop.failing = True
    async with a_pool(workshop, concurrency=3) as pool:
        holders = users(pool, 3)
        await idle()

        ends = await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)

        assert [type(end) for end in ends] == [StartFailed] * 3
        assert (workshop.attempts, pool.memory_used, pool.waiting) == (1, 0, 0)


@simulated
async def test_one_who_waits_for_init_and_gives_up_harms_nobody() -> None:
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3) as pool:
        first = Holder(pool, concurrency=3, slow=True)
        await idle()
        second, third = users(pool, 2)
        await idle()

        await second.cancel()
        replacement = Holder(pool, concurrency=3)
        first.may_init.set()
        await idle()

        assert (third.warm, replacement.warm, workshop.created) == (True, True, 1)
        await release_all(first, third, replacement)


@simulated
async def test_a_container_in_trouble_finishes_the_others_and_takes_nobody_else() -> None:
    """Spec 10.11.1."""
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3) as pool:
        first, second, third = await shared(pool)
        await second.cancel()
        later = Holder(pool, concurrency=3)
        await idle()
        meanwhile = (later.container == first.container, workshop.removed)

        await first.release()
        await third.release()
        await idle()

        assert meanwhile == (False, 0)
        assert (workshop.removed, [shell.name for shell in workshop.shells]) == (1, [later.container])
        await later.release()


@simulated
async def test_one_that_dies_takes_nobody_else() -> None:
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3) as pool:
        first, second, third = await shared(pool)
        await second.release()
        workshop.shells[0].die()

        later = Holder(pool, concurrency=3)
        await idle()

        assert later.container != first.container
        await release_all(first, third, later)
        await idle()
        assert workshop.removed == 1


@simulated
async def test_who_waits_for_memory_shares_the_container_that_another_starts_in_it() -> None:
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3, memory=256) as pool:
        other = Holder(pool, "other", keep=False)
        await idle()
        holders = users(pool, 3)
        await waiting(pool, 3)

        await other.release()
        await idle()

        assert [holder.warm for holder in holders] == [False, True, True]
        assert workshop.created == 2
        await release_all(*holders)


@simulated
async def test_who_waits_behind_another_action_joins_what_its_own_has_started() -> None:
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3, memory=512) as pool:
        leaving, staying = Holder(pool, "leaving", keep=False), Holder(pool, "staying")
        await idle()
        first = Holder(pool, concurrency=3)
        await waiting(pool, 1)
        large = Holder(pool, "large", memory=512)
        await waiting(pool, 2)
        second = Holder(pool, concurrency=3)
        await waiting(pool, 3)

        await leaving.release()
        await waiting(pool, 1)

        assert (first.warm, second.warm, large.has_it.is_set(), workshop.created) == (False, True, False, 3)
        await release_all(staying, first, second, large)


@simulated
async def test_who_was_granted_a_share_of_what_is_never_initialised_goes_elsewhere() -> None:
    """Granted, and before they are told, the one who was to start it is cancelled."""
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3, memory=256) as pool:
        other = Holder(pool, "other", keep=False)
        await idle()
        first, second, third = users(pool, 3)
        await waiting(pool, 3)
        other.done.set()
        while pool.waiting:
            await asyncio.sleep(0)

        await first.cancel()
        ends = await asyncio.gather(second.task, third.task, return_exceptions=True)

        assert [type(end) for end in ends] == [Unreachable] * 2
        await other.task
        await idle()
        assert (pool.memory_used, workshop.created) == (0, 1)


@simulated
async def test_who_waits_by_choice_shares_the_container_that_an_impatient_one_starts() -> None:
    workshop = Workshop(start=0.1)
    async with a_pool(workshop, concurrency=3, memory=2048) as pool:
        for _ in range(3):
            await release_all(*users(pool, 3), *users(pool, 3, moved=True))
        busy = users(pool, 6)
        await idle()
        patient = users(pool, 3)
        await waiting(pool, 3)

        await asyncio.sleep(0.126)
        await waiting(pool, 0)
        await asyncio.sleep(0.1)

        assert workshop.created == 3
        assert [holder.warm for holder in patient] == [False, True, True]
        await release_all(*busy, *patient)


def counts(action: ActionContainers) -> tuple[int, int, int, int]:
    """Return how many containers start, how many shares are initialised, where there are shares to lend, and all."""
    return len(action.starting), action.ready, len(action.shared) + len(action.warming), len(action.containers)


@simulated
async def test_shares_are_counted_until_none_of_them_is_lent_any_more() -> None:
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3, memory=2048) as pool:
        first = Holder(pool, concurrency=3, slow=True)
        await idle()
        action = action_of(pool)
        seen = [counts(action)]
        first.may_init.set()
        second, third = users(pool, 2)
        await idle()
        seen.append(
            (len(action.starting), action.ready, len(action.shared) + len(action.warming), len(action.containers))
        )
        await third.release()
        seen.append(
            (len(action.starting), action.ready, len(action.shared) + len(action.warming), len(action.containers))
        )
        workshop.shells[0].die()
        seen.append(
            (len(action.starting), action.ready, len(action.shared) + len(action.warming), len(action.containers))
        )
        await release_all(first, second)
        seen.append(
            (len(action.starting), action.ready, len(action.shared) + len(action.warming), len(action.containers))
        )

    assert seen == [(1, 0, 1, 1), (0, 3, 0, 1), (0, 3, 1, 1), (0, 0, 0, 0), (0, 0, 0, 0)]


@simulated
async def test_one_that_dies_while_it_is_initialised_is_counted_out_once() -> None:
    """The reply to `/init` was on its way already."""
    workshop = Workshop()
    async with a_pool(workshop, concurrency=3) as pool:
        first = Holder(pool, concurrency=3, slow=True)
        await idle()
        workshop.shells[0].die()
        first.may_init.set()
        await first.release()
        await idle()

        action = action_of(pool)
        assert (len(action.starting), action.ready, action.containers, pool.memory_used) == (0, 0, set(), 0)
