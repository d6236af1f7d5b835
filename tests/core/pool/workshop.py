"""A runtime whose containers do nothing: the pool's tests decide when they start, die and go."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from invoker.config import ByteSize, LimitsSettings, NodeSettings, PoolSettings, Seconds
from invoker.contracts import Output
from invoker.entities.container import ContainerSpec, ContainerState, Reply
from invoker.entities.function import Executable, Limits
from invoker.entities.request import Request
from invoker.entities.runtimes import Runtimes
from invoker.errors import StartFailed
from invoker.pool import Pool, container_pool
from invoker.testing.builders import a_caller, a_function, a_request, an_executable
from invoker_attached_logs.follower import AttachedLogs

MB = 1 << 20
NO_STEM_CELLS = Runtimes([])


class Shell:
    """A container without content."""

    def __init__(self, spec: ContainerSpec, output: Output, workshop: "Workshop") -> None:
        self.name = spec.name
        self.memory = spec.memory
        self.output = output
        self._workshop = workshop

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        return Reply(200, b"{}", 2)

    async def inspect(self) -> ContainerState:
        return ContainerState(running=self in self._workshop.shells, peak_memory=7)

    async def remove(self) -> None:
        await self._workshop.removing.wait()
        self._workshop.shells.remove(self)
        if self._workshop.stubborn:
            raise OSError("it clings")


class Workshop:
    """A runtime that counts, and waits when told to."""

    def __init__(self) -> None:
        self.shells: list[Shell] = []
        self.created = 0
        self.most_memory = 0
        self.failing = False
        self.stubborn = False
        self.creating = asyncio.Event()
        self.creating.set()
        self.removing = asyncio.Event()
        self.removing.set()

    def runtimes(self) -> Runtimes:
        return Runtimes([])

    async def create(self, spec: ContainerSpec, output: Output) -> Shell:
        await self.creating.wait()
        if self.failing:
            raise StartFailed("out of shells")
        shell = Shell(spec, output, self)
        self.shells.append(shell)
        self.created += 1
        self.most_memory = max(self.most_memory, sum(one.memory for one in self.shells))
        return shell


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def a_pool(
    workshop: Workshop,
    *,
    memory: int = 512,
    clock: Callable[[], float] | None = None,
    runtimes: Runtimes = NO_STEM_CELLS,
    concurrency: int = 1,
    **settings: Any,
) -> AsyncIterator[Pool]:
    """Run a pool of `memory` MB."""
    async with container_pool(
        workshop,
        AttachedLogs("openwhisk"),
        PoolSettings(**({"memory": ByteSize(memory * MB), "patience": Seconds(10)} | settings)),
        node=NodeSettings(id=7),
        limits=LimitsSettings(max_concurrency=concurrency),
        runtimes=runtimes,
        clock=clock or Clock(),
    ) as pool:
        yield pool


def a_task(
    name: str = "hello", *, namespace: str = "guest", memory: int = 256, concurrency: int = 1
) -> tuple[Executable, Request]:
    """Return a function and who asks for it. The same name is the same function."""
    function = a_function(name=name, digest=f"{name} {memory}".encode(), limits=Limits(memory=memory, concurrency=concurrency))
    return an_executable(function), a_request(function, caller=a_caller(namespace=namespace))
