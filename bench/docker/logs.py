"""`logs` on Docker: how soon logs are there, and how fast output is read, beside bare reads of the attach stream.

In this process: the plugin's connections and the log follower as the invoker has them.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import uvloop

from bench.docker.arrival import FLOOR as ARRIVAL_FLOOR
from bench.docker.arrival import arrival, bare_arrival
from bench.docker.bare_run import PATIENCE, BareRun, bare_run
from bench.docker.ground import DockerGround, DockerHost
from bench.messages import FIRST, NAMESPACE, direct_run, init, is_answer_of_run
from bench.report import Report, Row, progress, row_beside
from bench.target import echoes, folder
from invoker.contracts import Container, ContainerRuntime, LogFollower, Logs
from invoker.entities.function import Function, Limits
from invoker.testing.builders import a_request
from invoker_attached_logs.follower import AttachedLogs
from invoker_docker import open_container_runtime

REQUEST = a_request()

_SECTION: Final = "logs on Docker"
_MUCH: Final = 1 << 40
"""A limit that is never reached."""
_LIMIT: Final = 10 << 20
_REPLY_FLOOR: Final = "the second sentinel among bare bytes of another container's attach stream; same loop, bare HTTP"
_SPEED_FLOOR: Final = "bare reads of another container's attach stream in the same event loop"
_PRINTING: Final = """import os
chunk = (b"x" * 99 + b"\\n") * 650
def main(args):
    for _ in range({chunks}):
        at = 0
        while at < len(chunk):
            at += os.write(1, chunk[at:])
    return args
"""
CHUNK_LINES: Final = 650
LINE_LENGTH: Final = 100


class _Gaps(NamedTuple):
    """Microseconds from a reply's last byte until the logs are complete, of a round."""

    mean: float
    p50: float
    p99: float

    @classmethod
    def of(cls, runs: Sequence[tuple[float, float]]) -> "_Gaps":
        """Take seconds until the reply, and until the logs."""
        ranked = sorted(1e6 * (logs - reply) for reply, logs in runs)
        return cls(statistics.fmean(ranked), ranked[len(ranked) // 2], ranked[len(ranked) * 99 // 100])


def measure(report: Report, ground: DockerGround, *, quick: bool) -> None:
    """Measure all three."""
    progress(_SECTION)
    with folder() as where, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        faults: list[str] = []
        rows = runner.run(_measure(ground.runtime(where), faults, quick=quick))
    report.add(_SECTION, rows)
    report.fault(_SECTION, faults)


async def _measure(runtime: DockerHost, faults: list[str], *, quick: bool) -> list[Row]:
    repeats, count, chunks = (3, 300, 400) if quick else (7, 1_000, 1_600)
    bare_arrivals, arrivals = [], []
    for number in range(repeats):
        bare_arrivals.append(await bare_arrival(count))
        arrivals.append(await arrival(runtime.where / f"engine-{number}.sock", count, faults))
    rows = [row_beside("from the last sentinel's arrival to the logs", "µs", arrivals, bare_arrivals, ARRIVAL_FLOOR)]
    async with open_container_runtime(runtime.parsed()) as plugin:
        (echo,) = echoes(1)
        async with _both(runtime, plugin, echo) as (ours, bare):
            rows += await _gaps(ours, bare, repeats, count)
            faults += ours.faults + bare.faults
        code = _PRINTING.format(chunks=chunks)
        printer = Function(path=NAMESPACE, name="print", kind="python:default", code=code, limits=Limits())
        async with _both(runtime, plugin, printer) as (ours, bare):
            rows += await _speeds(ours, bare, repeats, chunks)
            faults += ours.faults + bare.faults
    return rows


@asynccontextmanager
async def _both(
    runtime: DockerHost, plugin: ContainerRuntime, function: Function
) -> AsyncIterator[tuple["_Ours", BareRun]]:
    """Have two containers of one function: the plugin's, and a bare one."""
    spec = runtime.spec(f"ours-{function.name}")
    follower = AttachedLogs("openwhisk").follow(spec)
    container = await plugin.create(spec, follower)
    reply = await container.post("/init", init(function).partition(b"\r\n\r\n")[2], timeout=PATIENCE, limit=1 << 20)
    assert reply.status == 200, reply  # noqa: PLR2004 (success)
    async with bare_run(runtime, f"bare-{function.name}", function) as bare:
        yield _Ours(container, follower, function), bare


class _Ours:
    """A container as the invoker has it."""

    def __init__(self, container: Container, follower: LogFollower, function: Function) -> None:
        self.faults: list[str] = []
        self._container = container
        self._follower = follower
        self._template = direct_run(function)
        self._number = FIRST

    async def run(self, limit: int) -> tuple[float, float, Logs]:
        """Run the function; return the seconds until the reply, those until the logs, and the logs."""
        self._number += 1
        body = self._template.render(self._number).partition(b"\r\n\r\n")[2]
        begun = time.perf_counter()
        self._follower.begin(REQUEST, limit)
        reply = await self._container.post("/run", body, timeout=PATIENCE, limit=1 << 20)
        replied = time.perf_counter()
        complete = await self._follower.settled(PATIENCE)
        logs = self._follower.end(expected=True)
        ended = time.perf_counter()
        if not is_answer_of_run(reply.body, self._number) or not complete or not logs.reusable:
            self.faults.append(f"{reply} {complete} {logs.reusable} {len(logs.lines)} lines"[:300])
        return replied - begun, ended - begun, logs


async def _gaps(ours: _Ours, bare: BareRun, repeats: int, count: int) -> list[Row]:
    """Compare how long after the reply the logs are there."""
    floor, mine = [], []
    for _ in range(repeats):
        floor.append(_Gaps.of([await bare.run() for _ in range(count)]))
        mine.append(_Gaps.of([(await ours.run(_LIMIT))[:2] for _ in range(count)]))
    return [
        row_beside(
            f"from /run's last byte to the logs, {of}",
            "µs",
            [getattr(one, of) for one in mine],
            [getattr(one, of) for one in floor],
            _REPLY_FLOOR,
        )
        for of in _Gaps._fields
    ]


async def _speeds(ours: _Ours, bare: BareRun, repeats: int, chunks: int) -> list[Row]:
    """Compare how fast much output is read."""
    megabytes = chunks * CHUNK_LINES * LINE_LENGTH / 1e6
    rows = []
    for what, limit in (("kept", _MUCH), ("drained, beyond the limit of 10 MB", _LIMIT)):
        floor, mine = [], []
        for _ in range(repeats):
            floor.append(megabytes / (await bare.run())[1])
            _, seconds, logs = await ours.run(limit)
            mine.append(megabytes / seconds)
            lines = len(logs.lines)
            if (lines != chunks * CHUNK_LINES) if limit == _MUCH else ("truncated" not in logs.lines[-1]):
                ours.faults.append(f"{lines} lines, the last: {logs.lines[-1:]}")
        rows.append(row_beside(f"{megabytes:.0f} MB in lines of 100 bytes, {what}", "MB/s", mine, floor, _SPEED_FLOOR))
    return rows
