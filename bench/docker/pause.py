"""`pause`: what it takes to freeze a container and to let it go on, beside the bare calls of the engine's API."""

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Final

import uvloop

from bench.docker.ground import DockerGround, DockerHost, bare_container
from bench.floor import ask
from bench.messages import FIRST, invocation, is_acknowledgement
from bench.report import Report, progress, row, row_beside
from bench.target import Invoker, echoes, folder
from invoker.contracts import Output
from invoker.entities.container import Stream
from invoker.entities.function import Function
from invoker_docker import open_container_runtime

_SECTION: Final = "pause"
_BARE: Final = "the same call of the engine's API by http.client, of another container"
_WARM: Final = "calls of a container that is not paused"
_GRACE: Final = 0.2
_PATIENCE: Final = 20.0


class _Ignored(Output):
    """Output that nobody wants."""

    def write(self, stream: Stream, chunk: bytes) -> None:
        """See `Output`."""

    def closed(self) -> None:
        """See `Output`."""


def measure(report: Report, ground: DockerGround, *, quick: bool) -> None:
    """Measure the calls alone, and then a whole invocation that finds its container paused."""
    progress(_SECTION)
    rounds = 10 if quick else 40
    with folder() as where, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ours, bare = runner.run(_calls(ground.runtime(where), rounds))
    with folder() as where:
        runtime = ground.runtime(where)
        invoker = Invoker(where, runtime, pool={"pause_grace": f"{_GRACE} s"})
        (function,) = invoker.put(echoes(1))
        with invoker:
            paused, warm = _invocations(report, invoker, function, rounds)
    report.add(
        _SECTION,
        [
            row_beside("pause", "ms", [one[0] for one in ours], [one[0] for one in bare], _BARE),
            row_beside("resume", "ms", [one[1] for one in ours], [one[1] for one in bare], _BARE),
            row_beside("a whole invocation that resumes its container", "ms", paused, warm, _WARM),
            row("  of which the first of all", "ms", paused[:1]),
        ],
    )


async def _calls(runtime: DockerHost, rounds: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Pause and resume by the plugin, and by the simplest of clients."""
    engine = runtime.engine
    ours, bare = [], []
    async with open_container_runtime(runtime.parsed()) as plugin:
        container = await plugin.create(runtime.spec("ours"), _Ignored())
        with bare_container(runtime, "bare") as other:
            engine.start(other)
            for _ in range(rounds):
                marks = [time.perf_counter()]
                engine.pause(other)
                marks.append(time.perf_counter())
                engine.unpause(other)
                bare.append(_steps([*marks, time.perf_counter()]))
                marks = [time.perf_counter()]
                await container.pause()
                marks.append(time.perf_counter())
                await container.resume()
                ours.append(_steps([*marks, time.perf_counter()]))
    return ours, bare


def _steps(marks: Sequence[float]) -> tuple[float, float]:
    return 1e3 * (marks[1] - marks[0]), 1e3 * (marks[2] - marks[1])


def _invocations(report: Report, invoker: Invoker, function: Function, rounds: int) -> tuple[list[float], list[float]]:
    """Call it once it is paused, and again at once."""
    paused, warm = [], []
    with socket.create_connection(("127.0.0.1", invoker.port)) as connection:

        def call(number: int) -> float:
            begun = time.perf_counter()
            answer = ask(connection, invocation(function).render(number))
            taken = 1e3 * (time.perf_counter() - begun)
            if not is_acknowledgement(answer, number):
                report.fault(_SECTION, [repr(answer[:300])])
            return taken

        call(FIRST)
        for number in range(FIRST + 1, FIRST + 2 * rounds, 2):
            _wait_until_paused(invoker)
            paused.append(call(number))
            warm.append(call(number + 1))
    return paused, warm


def _wait_until_paused(invoker: Invoker) -> None:
    until = time.monotonic() + _PATIENCE
    while [one.state for one in invoker.pool().containers] != ["paused"]:
        if time.monotonic() > until:
            raise RuntimeError(f"the container was not paused: {invoker.pool().containers}")
        time.sleep(0.01)
