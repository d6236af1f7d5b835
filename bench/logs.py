"""`logs`: how soon logs are there after the last sentinel, and how fast output is read, beside bare reads of a pipe.

In this process: the runtime's pipes and the log follower as the invoker has them, and somebody who writes into them.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import uvloop

from bench import machine
from bench.report import Report, Row, progress, row_beside
from invoker.contracts import LogFollower, Logs
from invoker.entities.container import ContainerSpec, Stream
from invoker.entities.runtimes import Runtime
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request
from invoker_attached_logs.follower import AttachedLogs
from invoker_process.container import CHUNK, OutputPipes

REQUEST = a_request()

_SECTION: Final = "logs"
_PATIENCE: Final = 10.0
_LINE: Final = b"x" * 99 + b"\n"
_TEXT: Final = b"a line of a function\n"
_WRITER: Final = """
import os, sys
chunk = (b"x" * 99 + b"\\n") * 650
for _ in range(int(sys.argv[1])):
    at = 0
    while at < len(chunk):
        at += os.write(1, chunk[at:])
os.write(1, b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\\n")
os.write(2, b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\\n")
"""
_CHUNK_LINES: Final = 650
_MUCH: Final = 1 << 40
"""A limit that is never reached."""
_LATENCY_FLOOR: Final = "from the write into a pipe until a task that waits for bare bytes goes on"
_SPEED_FLOOR: Final = "bare reads of the pipe in the same event loop"


class _Counting:
    """The floor: output that is counted and dropped."""

    def __init__(self, expected: int) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._expected = expected
        self._count = 0

    def write(self, stream: Stream, chunk: bytes) -> None:  # noqa: ARG002 (both alike)
        self._count += len(chunk)
        if self._count >= self._expected and not self.done.done():
            self.done.set_result(None)

    def closed(self) -> None:
        pass


class _Speed(NamedTuple):
    """What a round read."""

    megabytes: float
    seconds: float
    logs: Logs | None


def measure(report: Report, *, quick: bool) -> None:
    """Measure both."""
    progress(_SECTION)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows, faults = runner.run(_measure(quick=quick))
    report.add(_SECTION, rows)
    report.fault(_SECTION, faults)


async def _measure(*, quick: bool) -> tuple[list[Row], list[str]]:
    faults: list[str] = []
    repeats, count, chunks = (5, 500, 400) if quick else (7, 2_000, 1_600)
    ours, floor = [], []
    for _ in range(repeats):
        floor.append(await _bare_latency(count))
        ours.append(await _latency(count, faults))
    rows = [row_beside("from the last sentinel byte to the logs", "µs", ours, floor, _LATENCY_FLOOR)]
    for what, limit, share in (("kept", _MUCH, 1), ("drained, beyond the limit", 1 << 10, 4)):
        plain, read = [], []
        for _ in range(repeats):
            bare = await _read(chunks * share // 4, None)
            plain.append(bare.megabytes / bare.seconds)
            followed = await _read(chunks * share // 4, limit)
            read.append(followed.megabytes / followed.seconds)
            faults += _wrong(followed.logs, chunks * share // 4 * _CHUNK_LINES, limit)
        rows.append(row_beside(f"lines of 100 bytes, {what}", "MB/s", read, plain, _SPEED_FLOOR))
    return rows, faults


def _follower() -> LogFollower:
    runtime = Runtime(kind="python:3", family="python")
    return AttachedLogs("openwhisk").follow(ContainerSpec(name="bench", runtime=runtime, memory=128 << 20))


async def _latency(count: int, faults: list[str]) -> float:
    """Return the microseconds until an activation's logs are there; both streams are quiet before."""
    follower = _follower()
    pipes = OutputPipes(follower)
    stdout, stderr = pipes.attach(Stream.STDOUT), pipes.attach(Stream.STDERR)
    taken = 0.0
    for _ in range(count):
        follower.begin(REQUEST, 10 << 20)
        os.write(stdout, _TEXT + SENTINEL_LINE)
        await _turns()
        begun = time.perf_counter()
        os.write(stderr, SENTINEL_LINE)
        complete = await follower.settled(_PATIENCE)
        logs = follower.end(expected=True)
        taken += time.perf_counter() - begun
        if not complete or len(logs.lines) != 1 or not logs.reusable:
            faults.append(f"not the logs: {logs}")
    os.close(stdout)
    os.close(stderr)
    pipes.close()
    return taken / count * 1e6


async def _bare_latency(count: int) -> float:
    """Return the microseconds from a write into a pipe until a task goes on."""
    loop = asyncio.get_running_loop()
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    waiting: list[asyncio.Future[bytes]] = []
    loop.add_reader(readable, lambda: waiting.pop().set_result(os.read(readable, CHUNK)))
    taken = 0.0
    for _ in range(count):
        await _turns()
        waiting.append(loop.create_future())
        begun = time.perf_counter()
        os.write(writable, SENTINEL_LINE)
        await waiting[0]
        taken += time.perf_counter() - begun
    loop.remove_reader(readable)
    os.close(readable)
    os.close(writable)
    return taken / count * 1e6


async def _turns() -> None:
    """Let the loop read what is there."""
    for _ in range(4):
        await asyncio.sleep(0)


async def _read(chunks: int, limit: int | None) -> _Speed:
    """Read so many chunks from a process on the other core: into logs of at most `limit`, or into nothing."""
    length = chunks * _CHUNK_LINES * len(_LINE)
    follower = _follower()
    counting = _Counting(length + 2 * len(SENTINEL_LINE))
    pipes = OutputPipes(counting if limit is None else follower)
    follower.begin(REQUEST, limit or 0)
    stdout, stderr = pipes.attach(Stream.STDOUT), pipes.attach(Stream.STDERR)
    with machine.pinned(machine.LOAD_CORE):
        writer = subprocess.Popen(  # noqa: ASYNC220 (it takes no time)
            [sys.executable, "-I", "-S", "-c", _WRITER, str(chunks)], stdout=stdout, stderr=stderr
        )
    os.close(stdout)
    os.close(stderr)
    clock: Callable[[], float] = time.perf_counter
    begun = clock()
    if limit is None:
        await counting.done
        logs = None
    else:
        await follower.settled(_PATIENCE)
        logs = follower.end(expected=True)
    seconds = clock() - begun
    writer.wait()
    pipes.close()
    return _Speed(length / 1e6, seconds, logs)


def _wrong(logs: Logs | None, lines: int, limit: int) -> list[str]:
    if logs is None or not logs.complete:
        return [f"not the logs: {logs}"[:300]]
    if limit == _MUCH:
        return [] if len(logs.lines) == lines else [f"{len(logs.lines)} lines of {lines}"]
    return [] if len(logs.lines) < lines and "truncated" in logs.lines[-1] else [f"not cut: {logs.lines[-1:]}"]
