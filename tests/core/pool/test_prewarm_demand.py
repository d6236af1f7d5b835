"""How many prewarmed containers there are: the back-off of those that fail, and the demand (spec 10.6.3, T77)."""

import asyncio
from itertools import pairwise

import pytest

from invoker.config import Seconds
from invoker.contracts import Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import PrewarmConfig, Reactive
from invoker.errors import StartFailed
from invoker.pool import Pool
from invoker.pool.prewarm import EXPIRED_AT_ONCE, PrewarmedKind
from invoker.pool.snapshot import PrewarmSnapshot
from invoker.testing.builders import a_spec
from tests.core.pool.holders import attempts, use
from tests.core.pool.workshop import MB, Shell, Workshop, a_pool, with_prewarm
from tests.core.simulation import clock, idle, simulated

ONE = with_prewarm(PrewarmConfig(count=1, memory=256 * MB))


def reactive(**changes: float) -> Reactive:
    settings = {"min_count": 0, "max_count": 4, "ttl": 3600.0, "threshold": 2, "increment": 1} | changes
    return Reactive(**settings)  # type: ignore[arg-type]


def cells(count: int = 0, **changes: float) -> PrewarmConfig:
    return PrewarmConfig(count=count, memory=256 * MB, reactive=reactive(**changes))


def a_kind(config: PrewarmConfig) -> PrewarmedKind:
    return PrewarmedKind(a_spec(), config, config.count)


def view_of(pool: Pool) -> PrewarmSnapshot:
    (view,) = pool.snapshot().prewarmed
    return view


# --- failures -----------------------------------------------------------------------------------------------------


@simulated
async def test_a_start_that_fails_is_tried_again_after_a_pause_that_doubles(caplog: pytest.LogCaptureFixture) -> None:
    workshop = Workshop()
    workshop.failing = True
    async with a_pool(workshop, runtimes=ONE) as pool:
        times = await attempts(workshop, 10)
        failed = (view_of(pool), pool.memory_used)
        workshop.failing = False
        await asyncio.sleep(61)

        assert [after - before for before, after in pairwise(times)] == [
            pytest.approx(pause, abs=0.11) for pause in (1, 2, 4, 8, 16, 32, 60, 60, 60)
        ]
        assert failed == (
            PrewarmSnapshot(kind="python:3", memory=256 * MB, wanted=1, ready=0, starting=0, failure="out of shells"),
            0,
        )
        assert (view_of(pool).ready, view_of(pool).failure) == (1, None)

    assert "no python:3 container of 256 MB could be prewarmed, next try in 32 s: out of shells" in caplog.text


@simulated
async def test_starts_that_fail_at_the_same_time_are_one_failure() -> None:
    workshop = Workshop(start=0.1)
    workshop.failing = True
    async with a_pool(workshop, memory=2048, runtimes=with_prewarm(PrewarmConfig(count=3, memory=256 * MB))):
        times = await attempts(workshop, 9)

    assert times == [pytest.approx(time, abs=0.11) for time in [0] * 3 + [1.1] * 3 + [3.2] * 3]


@simulated
async def test_after_a_start_that_works_the_next_failure_counts_as_the_first() -> None:
    workshop = Workshop()
    workshop.failing = True
    async with a_pool(workshop, memory=2048, runtimes=ONE) as pool:
        await attempts(workshop, 4)
        workshop.failing = False
        await asyncio.sleep(10)
        assert view_of(pool).ready == 1
        workshop.failing = True
        await use(pool)  # takes it

        times = await attempts(workshop, 3)

    assert times == [pytest.approx(time, abs=0.11) for time in (0, 1, 3)]


def test_no_number_of_failures_is_too_much() -> None:
    kind = a_kind(cells())

    kind.put_off(1000.0, 5000)

    assert kind.retry_at == 1060.0


@simulated
async def test_a_bug_of_the_runtime_does_not_end_the_pool(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Workshop):
        async def create(self, *arguments: object) -> None:  # type: ignore[override]
            self.attempts += 1
            raise LookupError("a bug")

    workshop = Broken()
    async with a_pool(workshop, runtimes=ONE) as pool:
        await asyncio.sleep(2)

        assert (workshop.attempts, pool.memory_used) == (2, 0)

    assert "LookupError: a bug" in caplog.text


@simulated
async def test_an_image_that_ends_at_once_is_not_started_again_at_once() -> None:
    workshop = Workshop()
    workshop.stillborn = True
    async with a_pool(workshop, runtimes=ONE) as pool:
        times = await attempts(workshop, 8)
        failure = view_of(pool).failure
        await idle()

        assert times == [pytest.approx(time, abs=0.2) for time in (0, 1, 3, 7, 15, 31, 63, 123)]
        assert failure is not None
        assert "ended by itself" in failure
        assert (pool.memory_used, workshop.shells) == (0, [])


@simulated
async def test_one_that_was_of_use_begins_anew() -> None:
    workshop = Workshop()
    async with a_pool(workshop, memory=2048, runtimes=ONE) as pool:
        for _ in range(3):
            await asyncio.sleep(10)
            workshop.shells[-1].die()
        await asyncio.sleep(10)
        await use(pool)
        await asyncio.sleep(1)
        workshop.shells[-1].die()

        times = await attempts(workshop, 1)

    assert times == [pytest.approx(1, abs=0.11)]


@simulated
async def test_one_that_ends_soon_is_started_again_later_and_later() -> None:
    workshop = Workshop()
    lived = []
    async with a_pool(workshop, runtimes=ONE):
        for _ in range(4):
            while not workshop.shells:
                await asyncio.sleep(0.5)
            born = clock()
            await asyncio.sleep(1)
            workshop.shells[0].die()
            await idle()
            lived.append(born)

    assert [b - a for a, b in pairwise(lived)] == [pytest.approx(pause, abs=0.6) for pause in (2, 3, 5)]


# --- demand -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cold_starts", "changes", "wanted"),
    [
        (0, {}, 0),
        (0, {"min_count": 1}, 1),
        (1, {}, 0),  # below the threshold
        (2, {}, 1),
        (3, {}, 1),  # div, not divided by
        (4, {}, 2),
        (4, {"increment": 2}, 4),
        (9, {}, 4),
        (100, {}, 4),  # the most
        (2, {"min_count": 3}, 3),  # the least
        (5, {"threshold": 1, "increment": 3, "max_count": 12}, 12),
    ],
)
def test_the_wanted_number_follows_the_cold_starts(cold_starts: int, changes: dict[str, float], wanted: int) -> None:
    """Spec 10.6.3 b."""
    kind = a_kind(cells(count=2, **changes))
    kind.cold_starts = cold_starts

    kind.adjust()
    first = kind.wanted
    kind.adjust()

    assert (first, kind.cold_starts) == (wanted, 0)
    assert kind.wanted == changes.get("min_count", 0)  # 10.6.3 d: counted anew


def test_without_reaction_the_number_stays() -> None:
    kind = a_kind(PrewarmConfig(count=2, memory=256 * MB))
    kind.cold_starts = 100

    kind.adjust()

    assert kind.wanted == 2


@simulated
async def test_cold_starts_ask_for_more_at_the_next_adjustment() -> None:
    workshop = Workshop(start=1.0)
    seen = []
    async with a_pool(
        workshop, memory=4096, runtimes=with_prewarm(cells(count=1)), prewarm_interval=Seconds(100)
    ) as pool:
        await asyncio.sleep(2)
        async with asyncio.TaskGroup() as tasks:
            for name in "abcde":  # the first takes the prewarmed one, and it takes a second until there is another
                tasks.create_task(use(pool, name))
        await use(pool, "of another size", memory=128)  # spec 10.6.5
        for _ in range(3):
            await asyncio.sleep(50)
            seen.append((view_of(pool).wanted, view_of(pool).ready))
        await asyncio.sleep(100)
        seen.append((view_of(pool).wanted, view_of(pool).ready))

    assert sum(one.prewarmed for one in pool.snapshot().recent) == 1
    assert seen == [(1, 1), (2, 2), (2, 2), (0, 2)]


@simulated
async def test_those_whose_time_is_over_go_and_only_as_many_come_as_are_wanted() -> None:
    """Spec 10.6.3 a, 10.6.4."""
    workshop = Workshop()
    lasting = PrewarmConfig(count=1, memory=128 * MB)
    async with a_pool(
        workshop,
        memory=4096,
        runtimes=with_prewarm(cells(count=3, ttl=150.0, min_count=1), lasting),
        prewarm_interval=Seconds(100),
    ) as pool:
        await asyncio.sleep(101)
        first = {shell.name for shell in workshop.shells}

        await asyncio.sleep(100)

        second = {shell.name for shell in workshop.shells}
        assert (len(first), len(second), len(first & second)) == (4, 2, 1)
        assert [view.ready for view in pool.snapshot().prewarmed] == [1, 1]


@simulated
async def test_at_most_a_hundred_expire_at_once_the_oldest_first() -> None:
    class Reluctant(Workshop):
        async def create(self, spec: ContainerSpec, output: Output) -> Shell:
            if spec.memory == 256 * MB and clock() < 1010:
                raise StartFailed("not yet")
            return await super().create(spec, output)

    workshop = Reluctant()
    many = cells(count=EXPIRED_AT_ONCE, ttl=50.0)
    few = PrewarmConfig(count=5, memory=128 * MB, reactive=reactive(ttl=50.0))
    async with a_pool(
        workshop, memory=256 * 200, runtimes=with_prewarm(few, many), prewarm_interval=Seconds(100)
    ) as pool:
        await asyncio.sleep(50)
        before = len(workshop.shells)
        await asyncio.sleep(51)
        left = [shell.memory for shell in workshop.shells]
        await asyncio.sleep(100)

        assert (before, left) == (105, [256 * MB] * 5)
        assert (workshop.shells, pool.memory_used) == ([], 0)
