"""What the pool's state machine plays with: containers whose every step waits to be told, and who uses them."""

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple

from invoker.contracts import Container, ContainerRuntime, Output
from invoker.entities.activation import Status
from invoker.entities.container import ContainerSpec, ContainerState, Reply, Stream
from invoker.entities.runtimes import Runtimes
from invoker.errors import Aborted, ContainerError, NoRoom, StartFailed, Unreachable
from invoker.pool import Lease, Pool
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request, an_outcome
from tests.core.pool.workshop import a_task

MOVES: Final = 3


class Kind(NamedTuple):
    """A function: MB of its containers, and how many activations share one."""

    memory: int
    concurrency: int


FUNCTIONS: Final = {"a": Kind(256, 1), "b": Kind(256, 3), "c": Kind(128, 1), "d": Kind(512, 3)}


class Step:
    """Something under way, until the machine says how it ends."""

    def __init__(self, shell: "PlayedShell") -> None:
        self.shell = shell
        self.end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.no_room = False
        """If it is a creation that ends badly: for want of room."""


class PlayedShell(Container):
    """A container that takes note of whatever no container could bear."""

    pausable = True

    def __init__(self, spec: ContainerSpec, output: Output, runtime: "PlayedRuntime") -> None:
        self.spec = spec
        self.output = output
        self.users: set[Activation] = set()
        self.function: str | None = None
        self.paused = False
        self.alive = False
        self._runtime = runtime
        self._busy = False
        self._removing = False

    @property
    def name(self) -> str:
        return self.spec.name

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        raise AssertionError("nobody posts here")

    async def inspect(self) -> ContainerState:
        return ContainerState(running=self.alive)

    async def pause(self) -> None:
        self._check(not self.paused and not self.users, "paused twice or in use")
        self.paused = await self._step(self._runtime.pauses)
        if not self.paused:
            raise ContainerError("no")

    async def resume(self) -> None:
        self._check(self.paused, "resumed without having been paused")
        if not await self._step(self._runtime.resumptions):
            raise ContainerError("no")
        self.paused = False

    async def remove(self) -> None:
        self._check(not self.users and not self._removing, "removed twice or in use")
        self._removing = True
        await self._step(self._runtime.removals)
        self._runtime.shells.remove(self)
        if self.alive:
            self.die()

    def die(self) -> None:
        """End by itself. Replies may be on their way."""
        self.alive = False
        self.output.closed()

    async def _step(self, steps: list[Step]) -> bool:
        self._check(not self._busy, "asked for two things at once")
        self._busy = True
        step = Step(self)
        steps.append(step)
        try:
            return await step.end and self.alive
        finally:
            self._busy = False
            steps.remove(step)

    def _check(self, fine: bool, fault: str) -> None:  # noqa: FBT001
        if not fine:
            self._runtime.faults.append(f"{self.name}: {fault}")


class PlayedRuntime(ContainerRuntime):
    """Creates containers when the machine says so."""

    def __init__(self) -> None:
        self.creations: list[Step] = []
        self.pauses: list[Step] = []
        self.resumptions: list[Step] = []
        self.removals: list[Step] = []
        self.shells: list[PlayedShell] = []
        """From the beginning of the creation to the end of the removal."""
        self.faults: list[str] = []

    @property
    def memory(self) -> int:
        return sum(shell.spec.memory for shell in self.shells)

    def runtimes(self) -> Runtimes:
        return Runtimes([])

    async def create(self, spec: ContainerSpec, output: Output) -> PlayedShell:
        shell = PlayedShell(spec, output, self)
        step = Step(shell)
        self.shells.append(shell)
        self.creations.append(step)
        try:
            if not await step.end:
                raise NoRoom("no") if step.no_room else StartFailed("no")
        except BaseException:
            self.shells.remove(shell)
            raise
        finally:
            self.creations.remove(step)
        shell.alive = True
        return shell


class Activation:
    """Somebody who uses a container as the straight line does, with the real follower of its output."""

    def __init__(self, name: str, function: str, pool: Pool) -> None:
        self.name = name
        self.function = function
        self.pool = pool
        self.lease: Lease | None = None
        self.shell: PlayedShell | None = None
        """While it is in one."""
        self.init: asyncio.Future[bool] | None = None
        self.run: asyncio.Future[bool] | None = None
        """What it waits for now: whether it succeeds."""
        self.printed: list[str] = []
        self.faults: list[str] = []
        self.task = asyncio.get_running_loop().create_task(self._walk())

    @property
    def waits(self) -> bool:
        """Whether it has no container yet."""
        return self.shell is None and not self.task.done()

    async def _walk(self) -> None:
        kind = FUNCTIONS[self.function]
        for moves in range(1 + MOVES):
            task = a_task(self.function, memory=kind.memory, concurrency=kind.concurrency)
            self.lease = self.pool.lease(*task, moved=moves > 0)
            try:
                async with self.lease as lease:
                    await self._use(lease)
                    return
            except Unreachable:
                continue
            except (Aborted, StartFailed):
                return
            finally:
                self.lease = None

    async def _use(self, lease: Lease) -> None:
        shell = lease.container
        assert isinstance(shell, PlayedShell)
        self._enter(shell)
        try:
            if not shell.alive:
                raise Unreachable("it is gone")
            await self._execute(lease, shell)
        finally:
            shell.users.discard(self)
            self.shell = None

    async def _execute(self, lease: Lease, shell: PlayedShell) -> None:
        loop = asyncio.get_running_loop()
        lease.logs.begin(a_request(), 10 << 20)
        self.printed = []
        self._print(shell, f"{self.name} begins")
        good = True
        if not lease.warm:
            self.init = loop.create_future()
            good = await self.init
            lease.initialised(None if good else an_outcome(b'{"error":"no"}', Status.DEVELOPER_ERROR))
        if good:
            self.run = loop.create_future()
            good = await self.run
            self._print(shell, f"{self.name} ends", last=True)
        alone = lease.logs.alone
        logs = lease.logs.end(expected=good, error=None if good else "it failed")
        self._check_lines([line.partition(": ")[2] for line in logs.lines], alone=alone)
        lease.keep = good and logs.reusable and logs.complete

    def _enter(self, shell: PlayedShell) -> None:
        self.shell = shell
        shell.users.add(self)
        if shell.paused:
            self.faults.append(f"{self.name} was given {shell.name}, which is paused")
        if shell.function not in {None, self.function}:
            self.faults.append(f"{self.name} of {self.function} was given one of {shell.function}")
        shell.function = self.function

    def _print(self, shell: PlayedShell, text: str, *, last: bool = False) -> None:
        if not shell.alive:
            return
        self.printed.append(text)
        shell.output.write(Stream.STDOUT, f"{text}\n".encode())
        if last:
            shell.output.write(Stream.STDOUT, SENTINEL_LINE)
            shell.output.write(Stream.STDERR, SENTINEL_LINE)

    def _check_lines(self, lines: Iterable[str], *, alone: bool) -> None:
        said = [line for line in lines if line.endswith((" begins", " ends"))]  # not what the follower adds
        if said != (self.printed if alone else []):
            self.faults.append(f"{self.name} printed {self.printed} and logged {said}, alone: {alone}")
