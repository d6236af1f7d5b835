"""`backlog`: what the pool takes of the processor for one activation, whatever waits, runs, or is known.

In this process, without I/O: containers do nothing, an activation is in one for a turn of the event loop, and as many
clients ask again and again as there are containers and activations that wait. Where there are more actions than
containers, nearly every activation has another action's container removed and one of its own created.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple

import uvloop

from bench.report import Report, Row, progress, row
from invoker.config import ByteSize, LimitsSettings, NodeSettings, PoolSettings
from invoker.contracts import Container, ContainerRuntime, Output
from invoker.entities.container import ContainerSpec, ContainerState, Reply
from invoker.entities.function import Executable, Limits
from invoker.entities.request import Request
from invoker.entities.runtimes import Runtimes
from invoker.pool import Pool, container_pool
from invoker.testing.builders import a_function, a_request, an_executable
from invoker_attached_logs.follower import AttachedLogs

_REPEATS: Final = 5
_LONGEST_TURN: Final = 10.0
"""Milliseconds that the event loop may be held."""
_STEP: Final = 50
"""Clients that begin in one turn of the event loop."""


class Case(NamedTuple):
    """How much there is of everything."""

    containers: int
    waiting: int
    actions: int


CASES: Final = (
    *(Case(containers, waiting, 1) for waiting in (0, 8_000, 20_000) for containers in (1, 8, 200)),
    *(Case(200, waiting, actions) for waiting in (0, 8_000) for actions in (200, 1_000, 5_000)),
)


class _Container(Container):
    """A container that nobody talks to."""

    name = "wsk0_1a2b3c4d_1"

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        raise NotImplementedError

    async def inspect(self) -> ContainerState:
        return ContainerState(running=True)

    async def remove(self) -> None:
        """See `Container`."""


class _Runtime(ContainerRuntime):
    """Containers that are there at once, and are gone at once."""

    def runtimes(self) -> Runtimes:
        return Runtimes([])

    async def create(self, spec: ContainerSpec, output: Output) -> Container:  # noqa: ARG002
        return _Container()


class _Turns:
    """How long each turn of the event loop takes of the processor, as long as it is watched."""

    def __init__(self) -> None:
        self.longest = 0.0
        """Milliseconds."""
        self._loop = asyncio.get_running_loop()
        self._last = time.thread_time_ns()
        self._handle = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = time.thread_time_ns()
        self.longest = max(self.longest, (now - self._last) / 1e6)
        self._last = now
        self._handle = self._loop.call_soon(self._turn)

    def stop(self) -> float:
        """Watch no more; return the longest."""
        self._handle.cancel()
        return self.longest


class _Crowd:
    """Clients that ask for containers again and again."""

    def __init__(self, pool: Pool, case: Case) -> None:
        self.served = 0
        self._pool = pool
        self._case = case
        self._tasks: list[asyncio.Task[None]] = []
        functions = [
            a_function(name=f"f{number}", digest=str(number).encode(), limits=Limits(memory=256))
            for number in range(case.actions)
        ]
        self._asked_for = [(an_executable(function), a_request(function)) for function in functions]

    async def come(self) -> None:
        """Have all of them begin, and wait until every one was served or waits."""
        loop = asyncio.get_running_loop()
        for number in range(self._case.containers + self._case.waiting):
            asked_for = self._asked_for[number % self._case.actions]
            own = number < self._case.containers  # a container: that all of them are there
            self._tasks.append(loop.create_task(self._client(*asked_for, own=own)))
            if number % _STEP == 0:
                await asyncio.sleep(0)

    async def serve(self, count: int) -> float:
        """Wait for so many activations; return the microseconds of the processor for each."""
        begun, served = time.thread_time_ns(), self.served
        while self.served < served + count:  # noqa: ASYNC110 (a turn of the event loop, many activations)
            await asyncio.sleep(0)
        return (time.thread_time_ns() - begun) / (self.served - served) / 1e3

    async def leave(self) -> None:
        """Have all of them go."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _client(self, executable: Executable, request: Request, *, own: bool) -> None:
        while True:
            async with self._pool.lease(executable, request, moved=own) as lease:
                own = False
                if not lease.warm:
                    lease.initialised(None)
                await asyncio.sleep(0)
                lease.keep = True
            self.served += 1


def measure(report: Report, *, quick: bool) -> None:
    """Measure each case in an event loop of its own."""
    section = "backlog"
    progress(section)
    rows: list[Row] = []
    for case in CASES:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows += runner.run(_measure(case, 2_000 if quick else 20_000))
    report.add(section, rows)


async def _measure(case: Case, count: int) -> list[Row]:
    async with container_pool(
        _Runtime(),
        AttachedLogs("openwhisk"),
        PoolSettings(memory=ByteSize(case.containers * (256 << 20))),
        node=NodeSettings(),
        limits=LimitsSettings(),
        runtimes=Runtimes([]),
    ) as pool:
        crowd = _Crowd(pool, case)
        gc.disable()
        _, arriving = await _watched(crowd.come)
        await crowd.serve(count // 4)
        gc.collect()
        gc.disable()
        each = [await crowd.serve(count // _REPEATS) for _ in range(_REPEATS)]
        _, working = await _watched(lambda: crowd.serve(count // _REPEATS))
        gc.enable()
        await crowd.leave()
    what = f"{case.containers} containers, {case.waiting:,} waiting, {case.actions:,} actions"
    return [
        row(f"{what}: each activation", "µs", each),
        row("  the longest turn of the event loop meanwhile", "ms", [working], budget=f"<= {_LONGEST_TURN:g}"),
        row(f"  while they come, {_STEP} in a turn", "ms", [arriving], budget=f"<= {_LONGEST_TURN:g}"),
    ]


async def _watched(work: Callable[[], Awaitable[object]]) -> tuple[object, float]:
    """Do something; return what comes of it and the milliseconds of the longest turn meanwhile."""
    turns = _Turns()
    result = await work()
    return result, turns.stop()
