"""Idle containers: the newest is reused, the oldest is given up."""

import asyncio

from invoker.config import LimitsSettings, PoolSettings
from invoker.pool.container import ContainerFactory
from invoker.pool.idle import FreePool
from invoker.pool.lifecycle import Containers
from invoker_attached_logs.follower import AttachedLogs
from tests.core.pool.workshop import MB, NODE, Workshop, a_container, an_action


def test_the_newest_of_an_action_is_taken_first() -> None:
    free, action = FreePool(), an_action()
    older, newer = a_container(action), a_container(action)
    free.put(action, older)
    free.put(action, newer)

    assert [free.take_newest(action) for _ in range(3)] == [newer, older, None]


def test_the_oldest_of_all_is_given_up_first() -> None:
    free, hello, other = FreePool(), an_action(), an_action("other")
    containers = [a_container(hello), a_container(other), a_container(hello)]
    for container, action in zip(containers, (hello, other, hello), strict=True):
        free.put(action, container)
    seen = []
    while (oldest := free.oldest()) is not None:
        free.discard(oldest)
        seen.append(oldest)

    assert seen == containers
    assert (free.take_newest(hello), free.take_newest(other)) == (None, None)


def test_actions_do_not_mix() -> None:
    free, hello, other = FreePool(), an_action(), an_action("other")
    free.put(other, a_container(other))

    assert free.take_newest(hello) is None


def test_memory_is_the_sum_of_what_is_there() -> None:
    free, small, large = FreePool(), an_action(memory=128), an_action(memory=512)
    containers = [a_container(small), a_container(large)]
    free.put(small, containers[0])
    free.put(large, containers[1])

    free.discard(containers[0])
    free.discard(containers[0])

    assert (free.memory, list(free)) == (512 * MB, [containers[1]])


def test_one_in_the_middle_can_be_discarded() -> None:
    free, action = FreePool(), an_action()
    containers = [a_container(action) for _ in range(3)]
    for container in containers:
        free.put(action, container)

    free.discard(containers[1])

    assert list(free) == list(action.idle) == [containers[0], containers[2]]


async def test_a_share_of_what_is_in_use_comes_before_what_is_idle_and_what_is_starting_is_joined() -> None:
    action = an_action(concurrency=2)
    starting, ready, idle = (a_container(action) for _ in range(3))
    for container in (starting, ready, idle):
        container.shares = 2
    starting.active = ready.active = 1
    ready.initialised = idle.initialised = True
    action.warming[starting] = action.shared[ready] = None
    async with asyncio.TaskGroup() as tasks:
        factory = ContainerFactory(Workshop(), AttachedLogs("openwhisk"), NODE, LimitsSettings(), float)
        containers = Containers(factory, PoolSettings(), tasks, float, serve=bool, on_lost=print)
        containers.free.put(action, idle)

        lent = [containers.lend(action, 0.0) for _ in range(4)]
        joined = [containers.lend_warming(action) for _ in range(2)]

    assert (lent, joined) == ([ready, idle, idle, None], [starting, None])
    assert [container.active for container in (starting, ready, idle)] == [2, 2, 2]
