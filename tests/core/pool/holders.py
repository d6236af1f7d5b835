"""Those who use containers in the pool's tests."""

import asyncio

import pytest

from invoker.entities.activation import Outcome
from invoker.pool import Lease, Pool, StartReason, State
from tests.core.pool.workshop import PausableShell, Workshop, a_task
from tests.core.simulation import clock, idle

GRACE = 15.0
"""Seconds after which every idle container is paused: 10, and a look every 2.5."""
INSTANT = 0.001
PLENTY = 128 * 256
"""MB: whoever wants a container gets one."""


async def use(
    pool: Pool, name: str = "hello", *, namespace: str = "guest", memory: int = 256, keep: bool = True
) -> bool:
    """Use a container for a moment; return whether it was warm."""
    async with pool.lease(*a_task(name, namespace=namespace, memory=memory)) as lease:
        lease.keep = keep
        if not lease.warm:
            lease.initialised(None)
        return lease.warm


async def run(pool: Pool, name: str = "hello", *, seconds: float, concurrency: int = 1, memory: int = 256) -> None:
    """Use a container for so long."""
    async with pool.lease(*a_task(name, memory=memory, concurrency=concurrency)) as lease:
        if not lease.warm:
            lease.initialised(None)
        await asyncio.sleep(seconds)
        lease.keep = True


class Holder:
    """Somebody who uses a container until told to stop. `init` is what comes of `/init`, which waits for `may_init`."""

    def __init__(
        self,
        pool: Pool,
        name: str = "hello",
        *,
        memory: int = 256,
        keep: bool = True,
        concurrency: int = 1,
        moved: bool = False,
        init: Outcome | None = None,
        slow: bool = False,
    ) -> None:
        self.has_it = asyncio.Event()
        self.done = asyncio.Event()
        self.may_init = asyncio.Event()
        if not slow:
            self.may_init.set()
        self.lease: Lease | None = None
        """While it has one."""
        self.warm = False
        self.prewarmed = False
        self.reason: StartReason | None = None
        self.container: str | None = None
        self._keep = keep
        self._init = init
        self.task = asyncio.create_task(
            self._hold(pool.lease(*a_task(name, memory=memory, concurrency=concurrency), moved=moved))
        )

    async def _hold(self, leasing: Lease) -> None:
        async with leasing as self.lease:
            self.warm, self.reason, self.prewarmed = self.lease.warm, self.lease.reason, self.lease.prewarmed
            self.container = self.lease.container.name
            self.has_it.set()
            if not self.lease.warm:
                await self.may_init.wait()
                self.lease.initialised(self._init)
            await self.done.wait()
            self.lease.keep = self._keep and self._init is None

    async def release(self) -> None:
        self.done.set()
        await self.task

    async def cancel(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


async def waiting(pool: Pool, count: int) -> None:
    """Let everybody get as far as they can; `count` of them wait then."""
    await idle()
    assert pool.waiting == count


async def attempts(workshop: Workshop, count: int, *, step: float = 0.01) -> list[float]:
    """Return after how many seconds each of the next attempts to create a container came, seen every `step` of them."""
    times: list[float] = []
    began, seen = clock(), workshop.attempts
    while len(times) < count:
        await asyncio.sleep(step)
        times += [round(clock() - began, 3)] * (workshop.attempts - seen)
        seen = workshop.attempts
    return times


async def release_all(*holders: Holder) -> None:
    """Have all of them leave."""
    for holder in holders:
        await holder.release()


def shell_of(workshop: Workshop, number: int = 0) -> PausableShell:
    shell = workshop.shells[number]
    assert isinstance(shell, PausableShell)
    return shell


async def paused(pool: Pool, workshop: Workshop) -> PausableShell:
    """Return a container that was used, and paused since."""
    await use(pool)
    await asyncio.sleep(GRACE)
    assert pool.count(State.PAUSED) == 1
    return shell_of(workshop)


async def burst(pool: Pool, count: int, *, seconds: float, concurrency: int = 1) -> float:
    """Have so many activations at once; return after how many seconds the last one ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(run(pool, seconds=seconds, concurrency=concurrency))
    return loop.time() - began


async def warmed(pool: Pool, containers: int, *, seconds: float = INSTANT) -> None:
    """Have a function known for taking so long, with so many containers."""
    holders = [Holder(pool, moved=True) for _ in range(containers)]
    for holder in holders:
        await holder.has_it.wait()
    await release_all(*holders)
    for _ in range(8):
        await burst(pool, containers, seconds=seconds)
