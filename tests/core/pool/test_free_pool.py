"""Idle containers: the newest is reused, the oldest is given up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invoker.config import LimitsSettings, PoolSettings
from invoker.pool.container import ContainerFactory, FreePool
from invoker.pool.lifecycle import Containers
from invoker_attached_logs.follower import AttachedLogs
from tests.core.pool.workshop import MB, NODE, Workshop, a_container, an_action


@asynccontextmanager
async def some_containers() -> AsyncIterator[Containers]:
    async with asyncio.TaskGroup() as tasks:
        factory = ContainerFactory(Workshop(), AttachedLogs("openwhisk"), NODE, LimitsSettings(), float)
        yield Containers(factory, PoolSettings(), tasks, bool, lambda _: None)


def test_the_oldest_of_all_comes_first() -> None:
    free, hello, other = FreePool(), an_action(), an_action("other")
    containers = [a_container(hello), a_container(other), a_container(hello)]
    for container, action in zip(containers, (hello, other, hello), strict=True):
        free.put(container, action.idle)

    assert list(free) == containers
    assert (list(hello.idle), list(other.idle)) == ([containers[0], containers[2]], [containers[1]])


def test_memory_is_the_sum_of_what_is_there() -> None:
    free, small, large = FreePool(), an_action(memory=128), an_action(memory=512)
    containers = [a_container(small), a_container(large)]
    free.put(containers[0], small.idle)
    free.put(containers[1], large.idle)

    discarded = [free.discard(containers[0]) for _ in range(2)]

    assert discarded == [True, False]
    assert (free.memory, list(free), list(small.idle)) == (512 * MB, [containers[1]], [])


def test_one_in_the_middle_can_be_discarded() -> None:
    free, action = FreePool(), an_action()
    containers = [a_container(action) for _ in range(3)]
    for container in containers:
        free.put(container, action.idle)

    free.discard(containers[1])

    assert list(free) == list(action.idle) == [containers[0], containers[2]]


async def test_the_newest_of_an_action_is_lent_first() -> None:
    action = an_action()
    older, newer = a_container(action), a_container(action)
    async with some_containers() as containers:
        for container in (older, newer):
            containers.free.put(container, action.idle)

        assert [containers.lend(action, 0.0) for _ in range(3)] == [newer, older, None]
        assert containers.lend(an_action("other"), 0.0) is None


async def test_a_share_of_what_is_in_use_comes_before_what_is_idle_and_what_is_starting_is_joined() -> None:
    action = an_action(concurrency=2)
    starting, ready, idle = (a_container(action) for _ in range(3))
    for container in (starting, ready, idle):
        container.shares = 2
    starting.active = ready.active = 1
    ready.initialised = idle.initialised = True
    action.warming[starting] = action.shared[ready] = None
    async with some_containers() as containers:
        containers.free.put(idle, action.idle)

        lent = [containers.lend(action, 0.0) for _ in range(4)]
        joined = [containers.lend_warming(action) for _ in range(2)]

    assert (lent, joined) == ([ready, idle, idle, None], [starting, None])
    assert [container.active for container in (starting, ready, idle)] == [2, 2, 2]
