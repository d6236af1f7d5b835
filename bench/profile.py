"""`profile`: where the processor time of warm invocations goes, by thread, by function and by line.

The invoker runs with a sampler inside (`sampled.py`), 32 clients, instant action proxies. The sampler costs a few per
cent: shares are to be read, not times.
"""

import signal
from pathlib import Path
from typing import Final

import msgspec

from bench.ground import Ground
from bench.load import Load, Round, Target
from bench.messages import invocation
from bench.report import Report, Row, progress, row
from bench.sampled import Samples
from bench.target import Invoker, echoes, folder

CLIENTS: Final = 32
_SECTION: Final = f"profile, {CLIENTS} clients, instant action proxies"

_SHOWN: Final = 45
_ALL: Final = 0.99
"""The share of what is below everything, which says nothing."""


def measure(report: Report, ground: Ground, *, quick: bool) -> None:
    """Run, and show the shares."""
    seconds = 4.0 if quick else 10.0
    progress(_SECTION)
    with folder() as where, Load() as load:
        found = where / "samples"
        invoker = Invoker(where, ground.runtime(where, "instant"), program=("bench.sampled", str(found)))
        functions = invoker.put(echoes(CLIENTS))
        with invoker:
            targets = tuple(Target(invoker.port, (invocation(one),)) for one in functions)
            plan = Round(targets=targets, expect="acknowledgement", seconds=seconds, watch=(invoker.pid,))
            load.run(plan)
            before = _threads(invoker.pid)
            invoker.signal(signal.SIGUSR1)
            seen = load.run(plan)
            after = _threads(invoker.pid)
        samples = msgspec.json.decode(found.read_bytes(), type=Samples)
    report.fault(_SECTION, seen.faults)
    each = seen.cpu[0] / seen.count * 1e6
    used = {name: tuple(now - then for now, then in zip(after[name], before[name], strict=True)) for name in before}
    whole = sum(user + system for user, system in used.values())
    main = sum(used[str(invoker.pid)]) / whole * each
    rows = [row("CPU per invocation, sampler included", "µs", [each])]
    for thread, (user, system) in used.items():
        name = "main" if thread == str(invoker.pid) else thread
        rows.append(row(f"thread {name}: user", "µs", [user / whole * each]))
        rows.append(row(f"thread {name}: system", "µs", [system / whole * each]))
    report.add(_SECTION, rows)
    report.add(
        _SECTION + ": functions of the main thread, with what they call", _shares(samples.functions, samples, main)
    )
    report.add(_SECTION + ": lines of the main thread, alone", _shares(samples.lines, samples, main))


def _shares(counts: dict[str, int], samples: Samples, each: float) -> list[Row]:
    told = {name: count for name, count in counts.items() if count < _ALL * samples.total}
    ranked = sorted(told.items(), key=lambda item: -item[1])[:_SHOWN]
    return [row(name, "µs", [count / samples.total * each]) for name, count in ranked]


def _threads(pid: int) -> dict[str, tuple[int, int]]:
    """Return the user and system ticks of each thread; the main thread's number is the process's."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        text = (thread / "stat").read_text(encoding="ascii")
        fields = text[text.rindex(")") + 2 :].split()
        found[thread.name] = (int(fields[11]), int(fields[12]))
    return found
