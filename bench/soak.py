"""`soak`: load for a while. Every answer right, every record kept, memory flat, and nothing left behind."""

import signal
import sqlite3
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from bench import machine
from bench.ground import Ground, Runtime
from bench.load import Load, Round, Seen, Target
from bench.messages import invocation
from bench.report import Report, Row, progress, row
from bench.target import Invoker, echoes, folder

INTERVAL: Final = 0.5
"""Seconds between looks at resident memory."""
VANISH: Final = 5.0
"""Seconds in which everything must be gone after the invoker's end."""
_MB: Final = 1 << 20


class Plan(NamedTuple):
    """How long, with how many."""

    seconds: float
    clients: int
    actions: int


class _Sample(NamedTuple):
    """Resident memory, in bytes, at a moment."""

    at: float
    each: tuple[int, ...]
    """Of the invoker, and of a supervisor if there is one."""


def measure(report: Report, plan: Plan, ground: Ground) -> None:
    """Soak, stop with SIGTERM; then start again, load, and kill."""
    section = f"soak, {plan.seconds:g} s, {plan.clients} clients on {plan.actions} actions"
    progress(section)
    with folder() as where, Load() as load:
        rows, notes = _soaked(report, section, plan, Invoker(where, ground.runtime(where, "instant")), load)
    with folder() as where, Load() as load:
        rows += _killed(report, section, plan, Invoker(where, ground.runtime(where, "instant")), load)
    report.add(section, rows, notes)


def _round(invoker: Invoker, plan: Plan, seconds: float, watch: tuple[int, ...] = ()) -> Round:
    functions = invoker.put(echoes(plan.actions))
    return Round(
        targets=tuple(
            Target(invoker.port, (invocation(functions[number % plan.actions]),)) for number in range(plan.clients)
        ),
        expect="acknowledgement",
        seconds=seconds,
        watch=watch,
    )


def _soaked(report: Report, section: str, plan: Plan, invoker: Invoker, load: Load) -> tuple[list[Row], list[str]]:
    with invoker:
        warm = load.run(_round(invoker, plan, min(5.0, plan.seconds / 4)))  # buffers grow, containers start
        load.begin(_round(invoker, plan, plan.seconds, invoker.watched))
        samples = _samples(invoker, plan.seconds)
        seen = load.finish()
        containers = invoker.runtime.containers()
        invoker.signal(signal.SIGTERM)
        code = invoker.wait()
    report.fault(section, (*warm.faults, *seen.faults))
    if code != 0:
        report.fault(section, [f"exit code {code} after SIGTERM"])
    rows = _rows(samples, seen) + _vanished(report, section, invoker.runtime, "SIGTERM")
    stored = _stored(invoker.where)
    if stored != warm.count + seen.count:
        report.fault(section, [f"{stored} records of {warm.count + seen.count} activations"])
    return rows, [f"{warm.count + seen.count} activations in {containers} containers, {stored} records"]


def _samples(invoker: Invoker, seconds: float) -> list[_Sample]:
    """Look at memory until it is time."""
    begun = time.monotonic()
    samples = []
    while (at := time.monotonic() - begun) < seconds:
        samples.append(_Sample(at, tuple(machine.resident(pid) for pid in invoker.watched)))
        time.sleep(INTERVAL)
    return samples


def _rows(samples: Sequence[_Sample], seen: Seen) -> list[Row]:
    later = samples[len(samples) // 2 :]
    rows = [
        row("throughput", "/s", [seen.rate]),
        row("CPU per invocation", "µs", [seen.cpu[0] / max(1, seen.count) * 1e6]),
        row("p50", "µs", [seen.p50]),
        row("p99", "µs", [seen.p99]),
        row("worst", "µs", [seen.worst]),
        *(row("CPU of the supervisor", "ms/s", [each / seen.seconds * 1e3]) for each in seen.cpu[1:]),
    ]
    for number, who in enumerate(("invoker", "supervisor")[: len(seen.cpu)]):
        values = [one.each[number] for one in later]
        slope = statistics.linear_regression([one.at for one in later], values).slope
        rows.append(row(f"resident memory of the {who}, second half", "MB", [value / _MB for value in values]))
        rows.append(row("  its slope", "kB/s", [slope / 1024]))
        rows.append(row("  for each thousand invocations", "kB", [slope / 1024 / seen.rate * 1000]))
    return rows


def _killed(report: Report, section: str, plan: Plan, invoker: Invoker, load: Load) -> list[Row]:
    """Kill the invoker in the middle of its work: its containers must go with it, or when it starts again."""
    with invoker:
        load.begin(_round(invoker, plan, 2.0))
        time.sleep(1.0)
        if not invoker.runtime.containers():
            report.fault(section, ["there was nothing to kill"])
        invoker.signal(signal.SIGKILL)
        invoker.wait()
        load.finish()  # whose answers are of no interest any more
    if not invoker.runtime.outlives:
        return _vanished(report, section, invoker.runtime, "SIGKILL")
    begun = time.monotonic()
    with invoker:
        started = time.monotonic() - begun
        left = invoker.runtime.left()
    if left:
        report.fault(section, [f"{len(left)} containers were left after the next start: {left}"])
    return [row("from the start after SIGKILL until every container is gone and messages are taken", "s", [started])]


def _vanished(report: Report, section: str, runtime: Runtime, after: str) -> list[Row]:
    """Check that nothing of the invoker is left."""
    begun = time.monotonic()
    while (left := runtime.left()) and time.monotonic() - begun < VANISH:
        time.sleep(0.02)
    if left:
        report.fault(section, [f"{len(left)} processes or containers were left {VANISH:g} s after {after}: {left}"])
    return [row(f"from the end by {after} until nothing is left", "s", [time.monotonic() - begun])]


def _stored(where: Path) -> int:
    with closing(sqlite3.connect(where / "state" / "invoker.sqlite3")) as database:
        return int(database.execute("SELECT count(*) FROM activations").fetchone()[0])
