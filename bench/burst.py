"""`burst`: many clients at once on a few actions. How many containers that takes, beside a start for each of them."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from bench.floor import ask_at
from bench.ground import Ground
from bench.load import Load, Round, Seen, Target
from bench.messages import FIRST, invocation, is_acknowledgement
from bench.report import Report, Row, progress, row_beside
from bench.target import Invoker, echoes, folder, slow
from invoker.entities.function import Function

ACTIONS: Final = 4
_ALWAYS: Final = 'the same with pool.scale_out = "always": a start for each activation that meets busy containers'
_OURS: Final[Mapping[str, object]] = {}
_FLOOR: Final[Mapping[str, object]] = {"scale_out": "always"}
_ACQUAINTANCE: Final = 20
"""Calls of each action, one after the other, before anything counts: the invoker knows how long they take."""
_OWN_NUMBERS: Final = 5 * FIRST
SLEEP: Final = 2.0


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int
    seconds: float
    clients: tuple[int, ...]
    sleepers: int

    @classmethod
    def of(cls, *, quick: bool) -> "Plan":
        """Return what `python -m bench burst` measures, or a part of it."""
        return cls(2, 2.0, (32,), 8) if quick else cls(5, 4.0, (32, 64), 16)


class _Burst(NamedTuple):
    """What a round came to."""

    seen: Seen
    containers: int
    """Of the action that has most."""
    starts: Mapping[str, int]
    """By reason."""


class _Scene(NamedTuple):
    """What happens in a round."""

    proxy: str
    actions: Sequence[Function]
    calls: int
    """Of each action, one after the other, before anything counts."""
    clients: int
    seconds: float
    """0: each client calls once."""


def measure(report: Report, plan: Plan, ground: Ground) -> None:
    """Measure bursts on actions that are known and on ones that aren't, and then a function that takes its time."""
    for clients in plan.clients:
        for known in (True, False):
            _instant(report, plan, ground, clients, known=known)
    for known in (True, False):
        _slow(report, plan, ground, known=known)


def _instant(report: Report, plan: Plan, ground: Ground, clients: int, *, known: bool) -> None:
    section = f"burst, {clients} clients, {ACTIONS} instant actions, {_which(known)}"
    scene = _Scene("instant", echoes(ACTIONS), _ACQUAINTANCE if known else 0, clients, plan.seconds)
    ours, always = _both(report, section, ground, plan.rounds, scene)
    report.add(section, _rows(ours, always, "<= 4"), _notes(ours, always))


def _slow(report: Report, plan: Plan, ground: Ground, *, known: bool) -> None:
    """Have everybody call one function at once that takes seconds: waiting for it is not worth it."""
    section = f"burst, {plan.sleepers} clients, one call each of one action that takes {SLEEP:g} s, {_which(known)}"
    scene = _Scene("python", [slow(SLEEP)], 2 if known else 0, plan.sleepers, 0)
    ours, always = _both(report, section, ground, plan.rounds, scene)
    counts, floor_counts = ([one.containers for one in each] for each in (ours, always))
    report.add(
        section,
        [
            row_beside("containers", "", counts, floor_counts, _ALWAYS),
            row_beside(
                "until the last has its answer",
                "s",
                [one.seen.seconds for one in ours],
                [one.seen.seconds for one in always],
                _ALWAYS,
            ),
        ],
        _notes(ours, always),
    )


def _both(
    report: Report, section: str, ground: Ground, rounds: int, scene: _Scene
) -> tuple[Sequence[_Burst], Sequence[_Burst]]:
    """Play a scene with our settings and with the floor's, in turn; every round has an invoker of its own."""
    progress(section)
    ours: list[_Burst] = []
    always: list[_Burst] = []
    with Load() as load:
        for _ in range(rounds):
            for found, pool in ((always, _FLOOR), (ours, _OURS)):
                with folder() as where:
                    invoker = Invoker(where, ground.runtime(where, scene.proxy), pool=pool)
                    functions = invoker.put(scene.actions)
                    with invoker:
                        _acquaint(report, section, invoker, functions, scene.calls)
                        found.append(_burst(load, invoker, functions, scene.clients, scene.seconds))
    for one in (*always, *ours):
        report.fault(section, one.seen.faults)
    return ours, always


def _which(known: bool) -> str:  # noqa: FBT001 (the one thing it is asked)
    return "called before" if known else "never called before"


def _acquaint(report: Report, section: str, invoker: Invoker, functions: Sequence[Function], calls: int) -> None:
    number = _OWN_NUMBERS
    for function in functions:
        for _ in range(calls):
            answer = ask_at(("127.0.0.1", invoker.port), invocation(function).render(number))
            if not is_acknowledgement(answer, number):
                report.fault(section, [repr(answer[:300])])
            number += 1


def _burst(load: Load, invoker: Invoker, functions: Sequence[Function], clients: int, seconds: float) -> _Burst:
    chosen = [functions[number % len(functions)] for number in range(clients)]
    targets = tuple(Target(invoker.port, (invocation(one),)) for one in chosen)
    seen = load.run(Round(targets=targets, expect="acknowledgement", seconds=seconds))
    pool = invoker.pool()
    actions = [one.action for one in pool.containers]
    return _Burst(seen, max(map(actions.count, set(actions))), pool.starts)


def _rows(ours: Sequence[_Burst], always: Sequence[_Burst], containers: str) -> list[Row]:
    def both(what: str, unit: str, of: str, budget: str = "") -> Row:
        mine, floor = ([getattr(one.seen, of) for one in each] for each in (ours, always))
        return row_beside(what, unit, mine, floor, _ALWAYS, budget=budget)

    tails, floor_tails = ([one.seen.p99 / one.seen.p50 for one in each] for each in (ours, always))
    counts, floor_counts = ([one.containers for one in each] for each in (ours, always))
    return [
        row_beside("containers of the action that has most", "", counts, floor_counts, _ALWAYS, budget=containers),
        both("throughput", "/s", "rate"),
        both("p50", "µs", "p50"),
        both("p99", "µs", "p99"),
        row_beside("p99 to p50", "", tails, floor_tails, _ALWAYS, budget="<= 5"),
        both("worst", "µs", "worst"),
    ]


def _notes(ours: Sequence[_Burst], always: Sequence[_Burst]) -> list[str]:
    told = []
    for whose, each in (("ours", ours), ("always", always)):
        starts = {reason: [one.starts[reason] for one in each] for reason in each[0].starts}
        told.append(f"cold starts, {whose}: " + ", ".join(f"{reason} {n}" for reason, n in starts.items() if any(n)))
    return told
