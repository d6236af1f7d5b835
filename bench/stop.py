"""`stop`: from SIGTERM to the invoker's exit, with many idle containers."""

import signal
import time
from contextlib import ExitStack
from typing import Final

from bench.ground import Ground
from bench.load import Load, Round, Target
from bench.messages import invocation
from bench.report import Report, progress, row, row_beside
from bench.target import Invoker, echoes, folder

CONTAINERS: Final = 50
_CLIENTS: Final = 4
_BARE: Final = "as many containers removed through the engine's API by a few threads"


def measure(report: Report, ground: Ground, *, quick: bool) -> None:
    """Stop invokers."""
    section = f"stop, {CONTAINERS} idle containers"
    progress(section)
    ours, bare = [], []
    for _ in range(2 if quick else 5):
        with ExitStack() as stack:
            if (removal := ground.bare_removal(CONTAINERS)) is not None:
                bare.append(removal)
            ours.append(_stopped(report, section, ground, stack))
    what = "from SIGTERM until the invoker has exited"
    rows = [row_beside(what, "s", ours, bare, _BARE) if bare else row(what, "s", ours)]
    report.add(section, rows)


def _stopped(report: Report, section: str, ground: Ground, stack: ExitStack) -> float:
    where, load = stack.enter_context(folder()), stack.enter_context(Load())
    runtime = ground.runtime(where)
    invoker = Invoker(where, runtime)
    templates = tuple(invocation(one) for one in invoker.put(echoes(CONTAINERS)))
    order = tuple(range(CONTAINERS))
    with invoker:
        targets = (Target(invoker.port, templates),) * _CLIENTS
        seen = load.run(Round(targets=targets, expect="acknowledgement", seconds=600, order=order))
        report.fault(section, seen.faults)
        if runtime.containers() != CONTAINERS:
            report.fault(section, [f"{runtime.containers()} containers of {CONTAINERS}"])
        begun = time.perf_counter()
        invoker.signal(signal.SIGTERM)
        code = invoker.wait()
        seconds = time.perf_counter() - begun
    if code != 0 or runtime.left():
        report.fault(section, [f"exit code {code}, left: {len(runtime.left())}"])
    return seconds
