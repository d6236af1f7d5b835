"""The load generator: a process of its own that runs one round after the other and says what it saw.

It reads a `Round` a line from standard input and writes a `Seen` a line to standard output. Connections are made
before a round's clock starts and kept through it; the CPU time of the processes it is told to watch is read at the
round's beginning, and again when all answers are there and whatever was put off (records, log lines) has had time.
"""

import asyncio
import itertools
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from typing import Final, Literal, Self

import msgspec
import uvloop

from bench import machine
from bench.client import Client, Judge, Tally
from bench.messages import Template, is_acknowledgement, is_answer_of_run

AFTERMATH: Final = 0.25
"""Seconds after the last answer until CPU time is read: records wait 0.1 s for company, log lines 0.02 s."""
PATIENCE: Final = 60.0
"""Seconds that the last answers of a round are waited for."""

_JUDGES: Final[dict[str, Judge]] = {"acknowledgement": is_acknowledgement, "result": is_answer_of_run}


class Target(msgspec.Struct, frozen=True):
    """Where one client sends what: one template after the other, in a circle."""

    port: int
    templates: tuple[Template, ...]
    host: str = "127.0.0.1"


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: one client for each target, all at once, for some seconds."""

    targets: tuple[Target, ...]
    expect: Literal["acknowledgement", "result"]
    seconds: float
    """With 0 each client sends one request."""
    order: tuple[int, ...] = ()
    """The numbers of the templates that are sent, by whichever client is free, in place of circles; then it is over."""
    watch: tuple[int, ...] = ()
    """Processes whose CPU time is wanted."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a round."""

    count: int
    wrong: int
    examples: tuple[str, ...]
    """Of wrong answers."""
    seconds: float
    p50: float
    p99: float
    worst: float
    """Latencies in microseconds."""
    cpu: tuple[float, ...]
    """Seconds of CPU time of each process that was watched."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What was wrong, if anything."""
        if not self.wrong:
            return () if self.count else ("there was no answer at all",)
        return (f"{self.wrong} of {self.count} answers were wrong", *self.examples)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.count / self.seconds


class Load:
    """The load generator as its parent sees it: `with Load() as load: load.run(Round(…))`."""

    def __enter__(self) -> Self:
        """Start it on its own core."""
        with machine.pinned(machine.LOAD_CORE):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=machine.ROOT
            )
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def run(self, plan: Round) -> Seen:
        """Run a round and return what came of it."""
        self.begin(plan)
        return self.finish()

    def begin(self, plan: Round) -> None:
        """Start a round; `finish` must follow."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(plan) + b"\n")
        self._process.stdin.flush()

    def finish(self) -> Seen:
        """Wait for the end of the round."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator has ended; what it said last is above")
        return msgspec.json.decode(line, type=Seen)


async def _round(plan: Round) -> Seen:
    loop = asyncio.get_running_loop()
    tally = Tally(_JUDGES[plan.expect])
    order = iter(plan.order)
    clients = [await _connected(tally, target, order if plan.order else None) for target in plan.targets]
    cpu = [machine.cpu_ns(pid) for pid in plan.watch]
    begun = time.perf_counter()
    for client in clients:
        client.send()
    if plan.seconds:
        loop.call_later(plan.seconds, _stop, tally)
    else:
        _stop(tally)
    _, late = await asyncio.wait([client.ended for client in clients], timeout=plan.seconds + PATIENCE)
    seconds = time.perf_counter() - begun
    for client in clients:
        client.close()
    for _ in late:
        tally.refuse(0, f"no answer within {PATIENCE} s")
    if plan.watch:
        await asyncio.sleep(AFTERMATH)
    used = tuple((machine.cpu_ns(pid) - before) / 1e9 for pid, before in zip(plan.watch, cpu, strict=True))
    return _seen(tally, seconds, used)


async def _connected(tally: Tally, target: Target, order: Iterator[int] | None) -> Client:
    """Connect one client; `order` is what it takes turns at with all others."""
    loop = asyncio.get_running_loop()
    templates = itertools.cycle(target.templates) if order is None else (target.templates[one] for one in order)
    _, client = await loop.create_connection(lambda: Client(tally, templates), target.host, target.port)
    return client


def _stop(tally: Tally) -> None:
    tally.stopped = True


def _seen(tally: Tally, seconds: float, cpu: tuple[float, ...]) -> Seen:
    latencies = array("q", sorted(tally.latencies)) or array("q", [0])
    return Seen(
        count=len(tally.latencies),
        wrong=tally.wrong,
        examples=tuple(tally.examples),
        seconds=seconds,
        p50=latencies[len(latencies) // 2] / 1000,
        p99=latencies[len(latencies) * 99 // 100] / 1000,
        worst=latencies[-1] / 1000,
        cpu=cpu,
    )


def main() -> None:
    """Run rounds until there are no more."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin.buffer:
            seen = runner.run(_round(msgspec.json.decode(line, type=Round)))
            sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
