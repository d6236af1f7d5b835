"""`thrash`: more actions than there is memory for. Cold starts beside those of a plain list of the last used."""

import random
from typing import Final, NamedTuple

from bench import machine
from bench.ground import Ground
from bench.last_used import misses
from bench.load import Load, Round, Seen, Target
from bench.messages import invocation
from bench.report import Report, Row, progress, row, row_beside
from bench.target import Invoker, echoes, folder

ACTIONS: Final = 20
PLACES: Final = 8
_LONG: Final = 3600.0
_LRU: Final = (
    f"a list of the {PLACES} last used, played through with as many clients: whoever finds a container of its action "
    "that is busy or starting waits for it, whoever finds all busy waits for any"
)
_START: Final = 0.3
_RUN: Final = 0.003
"""Seconds that starts and runs take where the list is played through."""


class _Thrashed(NamedTuple):
    """What a sequence came to."""

    seen: Seen
    cold: int
    reasons: dict[str, int]
    most: int
    created: int
    memory: tuple[int, int]
    """Resident bytes of the invoker, before and after."""
    left: int


def measure(report: Report, ground: Ground, *, quick: bool) -> None:
    """Send a random sequence by one client, and by as many as there are containers."""
    count = 200 if quick else 1000
    order = tuple(random.Random(20).choices(range(ACTIONS), k=count))
    for clients in (1, PLACES):
        section = f"thrash, {count} activations of {ACTIONS} actions, {clients} clients, memory for {PLACES} containers"
        progress(section)
        found = _thrash(ground, order, clients)
        report.fault(section, found.seen.faults)
        if found.left:
            report.fault(section, [f"{found.left} containers were left"])
        floor = misses(order, PLACES, clients, start=_START, run=_RUN)
        report.add(section, _rows(found, floor, clients), [f"reasons: {found.reasons}"])


def _thrash(ground: Ground, order: tuple[int, ...], clients: int) -> _Thrashed:
    with folder() as where, Load() as load:
        runtime = ground.runtime(where)
        invoker = Invoker(where, runtime, pool={"memory": f"{PLACES * 128} MB"})
        templates = tuple(invocation(one) for one in invoker.put(echoes(ACTIONS)))
        targets = (Target(invoker.port, templates),) * clients
        with invoker, runtime.census() as census:
            before = machine.resident(invoker.pid)
            seen = load.run(Round(targets=targets, expect="acknowledgement", seconds=_LONG, order=order))
            after = machine.resident(invoker.pid)
            starts = {reason: count for reason, count in invoker.pool().starts.items() if count}
        return _Thrashed(
            seen, sum(starts.values()), starts, census.most, census.created, (before, after), len(runtime.left())
        )


def _rows(found: _Thrashed, floor: int, clients: int) -> list[Row]:
    exactly = f"{floor}, exactly" if clients == 1 else ""
    seconds = found.seen.seconds
    return [
        row_beside("cold starts", "", [found.cold], [floor], _LRU, budget=exactly),
        row("containers created", "", [found.created]),
        row("containers at one time, at most", "", [found.most], budget=f"<= {PLACES}"),
        row("containers left at the end", "", [found.left], budget="0"),
        row("whole", "s", [seconds]),
        row("activations", "/s", [found.seen.count / seconds]),
        row("for each cold start", "ms", [1e3 * seconds / max(1, found.cold)]),
        row("resident memory of the invoker, at the start", "MB", [found.memory[0] / (1 << 20)]),
        row("  at the end", "MB", [found.memory[1] / (1 << 20)]),
    ]
