"""A runtime whose containers do nothing: the pool's tests decide how long they take, when they start, die and go."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from invoker.config import ByteSize, LimitsSettings, NodeSettings, PoolSettings, Seconds
from invoker.contracts import Container, ContainerRuntime, Output
from invoker.entities.container import ContainerSpec, ContainerState, Reply
from invoker.entities.function import Executable, Limits
from invoker.entities.request import Request
from invoker.entities.runtimes import PrewarmConfig, Runtime, Runtimes
from invoker.errors import ContainerError, NoRoom, StartFailed
from invoker.pool import Pool, container_pool
from invoker.pool.actions import ActionContainers, KnownActions
from invoker.pool.container import PooledContainer
from invoker.testing.builders import a_caller, a_function, a_request, a_runtime, a_spec, an_executable
from invoker_attached_logs.follower import AttachedLogs

MB = 1 << 20
NOTHING_PREWARMED = Runtimes([])
DEFAULTS: dict[str, Any] = {"patience": Seconds(10), "parallel_starts": 1000}
"""Starts are bounded where that is what is tested."""


class Shell(Container):
    """A container without content, which can't be paused."""

    def __init__(self, spec: ContainerSpec, output: Output, workshop: "Workshop") -> None:
        self.spec = spec
        self.memory = spec.memory
        self.output = output
        self.workshop = workshop

    @property
    def name(self) -> str:
        return self.spec.name

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        return Reply(200, b"{}", 2)

    async def inspect(self) -> ContainerState:
        return ContainerState(running=self in self.workshop.shells, peak_memory=7)

    async def remove(self) -> None:
        await self.workshop.removing.wait()
        self.workshop.shells.remove(self)
        self.workshop.removed += 1
        if self.workshop.stubborn:
            raise OSError("it clings")

    def die(self) -> None:
        """End, as if by itself."""
        self.output.closed()


class PausableShell(Shell):
    """One that can be paused. It refuses what no container could bear."""

    pausable = True

    paused = False
    pauses = 0
    resumes = 0

    async def pause(self) -> None:
        assert not self.paused
        self.pauses += 1
        await self.workshop.pausing.wait()
        if self.workshop.pause_failure is not None:
            raise self.workshop.pause_failure
        self.paused = True

    async def resume(self) -> None:
        assert self.paused
        self.resumes += 1
        await self.workshop.resuming.wait()
        if self.workshop.resume_failure is not None:
            raise self.workshop.resume_failure
        self.paused = False


class Workshop(ContainerRuntime):
    """A runtime that counts, and waits when told to: `creating`, `removing`, `pausing` and `resuming` are its gates."""

    def __init__(self, *, pausable: bool = False, start: float = 0.0) -> None:
        self.shells: list[Shell] = []
        self.start = start
        """Seconds that a start takes."""
        self.created = 0
        self.removed = 0
        self.attempts = 0
        self.most_memory = 0
        self.failing = False
        self.room: int | None = None
        """How many containers there is room for."""
        self.stillborn = False
        """Containers end as soon as they are started."""
        self.stubborn = False
        self.pause_failure: ContainerError | None = None
        self.resume_failure: Exception | None = None
        self.creating, self.removing, self.pausing, self.resuming = (asyncio.Event() for _ in range(4))
        for gate in (self.creating, self.removing, self.pausing, self.resuming):
            gate.set()
        self._kind_of_shell = PausableShell if pausable else Shell

    def runtimes(self) -> Runtimes:
        return Runtimes([])

    async def create(self, spec: ContainerSpec, output: Output) -> Shell:
        self.attempts += 1
        await self.creating.wait()
        if self.start:
            await asyncio.sleep(self.start)
        if self.failing:
            raise StartFailed("out of shells")
        if self.room is not None and len(self.shells) >= self.room:
            raise NoRoom("no address is free")
        shell = self._kind_of_shell(spec, output, self)
        self.shells.append(shell)
        self.created += 1
        self.most_memory = max(self.most_memory, self.memory)
        if self.stillborn:
            shell.die()
        return shell

    @property
    def memory(self) -> int:
        """Bytes of all containers that there are."""
        return sum(shell.memory for shell in self.shells)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


NODE = NodeSettings(id=7)


@asynccontextmanager
async def a_pool(
    workshop: Workshop,
    *,
    memory: int = 512,
    clock: Callable[[], float] | None = None,
    runtimes: Runtimes = NOTHING_PREWARMED,
    concurrency: int = 1,
    node: NodeSettings = NODE,
    **settings: Any,
) -> AsyncIterator[Pool]:
    """Run a pool of `memory` MB."""
    async with container_pool(
        workshop,
        AttachedLogs("openwhisk"),
        PoolSettings(**(DEFAULTS | {"memory": ByteSize(memory * MB)} | settings)),
        node=node,
        limits=LimitsSettings(max_concurrency=concurrency),
        runtimes=runtimes,
        clock=clock or asyncio.get_running_loop().time,
    ) as pool:
        yield pool


def a_task(
    name: str = "hello",
    *,
    namespace: str = "guest",
    memory: int = 256,
    concurrency: int = 1,
    runtime: Runtime | None = None,
) -> tuple[Executable, Request]:
    """Return a function and who asks for it. The same name is the same function."""
    limits = Limits(memory=memory, concurrency=concurrency)
    function = a_function(name=name, digest=f"{name} {memory}".encode(), limits=limits)
    return an_executable(function, runtime), a_request(function, caller=a_caller(namespace=namespace))


def an_action(name: str = "hello", *, memory: int = 256, concurrency: int = 1) -> ActionContainers:
    """Return what is known of an action that nobody has asked for."""
    executable, request = a_task(name, memory=memory, concurrency=concurrency)
    return KnownActions().of((executable.function.digest, request.caller.namespace, None), executable)


def a_container(action: ActionContainers | None = None, *, born: float = 0.0) -> PooledContainer:
    """Return a container that was never created, one of `action`'s."""
    spec = a_spec() if action is None else action.spec
    return PooledContainer(spec, AttachedLogs("openwhisk").follow(spec), born, lambda _: None)


def with_prewarm(*configs: PrewarmConfig) -> Runtimes:
    """Return the kind that `a_task` is of, of which some are prewarmed."""
    return Runtimes([a_runtime(prewarm=configs)])
