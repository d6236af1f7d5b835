"""`rotate`: clients that go from action to action, with memory for as many containers as there are clients.

Whoever starts a container for each activation that finds its own busy evicts somebody else's all the time; whoever
waits a moment starts none. The floor has memory for all.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

from bench.ground import Ground
from bench.load import Load, Round, Seen, Target
from bench.messages import invocation
from bench.report import Report, Row, progress, row, row_beside
from bench.target import Invoker, echoes, folder
from invoker.entities.function import Function

CLIENTS: Final = 8
ACTIONS: Final = 4
PLACES: Final = 8
_ROOMY: Final = "the same with memory for every client's container of every action"


class _Turn(NamedTuple):
    """A round."""

    seen: Seen
    cold: int
    reasons: Mapping[str, int]


class _Side(NamedTuple):
    """An invoker, ready."""

    invoker: Invoker
    functions: Sequence[Function]

    def turn(self, load: Load, seconds: float) -> _Turn:
        """Run a round."""
        templates = [invocation(one) for one in self.functions]
        targets = tuple(
            Target(self.invoker.port, tuple(templates[(client + at) % ACTIONS] for at in range(ACTIONS)))
            for client in range(CLIENTS)
        )
        before = self.invoker.pool().starts
        seen = load.run(Round(targets=targets, expect="acknowledgement", seconds=seconds))
        after = self.invoker.pool().starts
        reasons = {reason: after[reason] - before[reason] for reason in after}
        return _Turn(seen, sum(reasons.values()), {reason: count for reason, count in reasons.items() if count})


def measure(report: Report, ground: Ground, *, quick: bool, proxy: str) -> None:
    """Measure rounds, once the containers are warm."""
    rounds, seconds = (3, 2.0) if quick else (7, 4.0)
    section = (
        f"rotate, {CLIENTS} clients over {ACTIONS} actions, memory for {PLACES} containers, {proxy} action proxies"
    )
    progress(section)
    ours, roomy = [], []
    with Load() as load, ExitStack() as stack:
        places = [stack.enter_context(folder()) for _ in range(2)]
        runtimes = [ground.runtime(where, proxy) for where in places]
        sides = []
        for where, runtime, count in zip(places, runtimes, (CLIENTS * ACTIONS, PLACES), strict=True):
            invoker = Invoker(where, runtime, pool={"memory": f"{count * 128} MB"})
            sides.append(_Side(invoker, invoker.put(echoes(ACTIONS))))
        for side in sides:
            stack.enter_context(side.invoker)
        census = stack.enter_context(runtimes[1].census())
        warm = [side.turn(load, seconds) for side in sides]
        for _ in range(rounds):
            roomy.append(sides[0].turn(load, seconds))
            ours.append(sides[1].turn(load, seconds))
        most, created = census.most, census.created
    for one in (*warm, *roomy, *ours):
        report.fault(section, one.seen.faults)
    left = [one for runtime in runtimes for one in runtime.left()]
    if left:
        report.fault(section, [f"left over: {left}"])
    report.add(
        section,
        _rows(ours, roomy, most),
        [
            f"{created} containers were created in all, {warm[1].cold} for the {warm[1].seen.count} activations before",
            f"the floor created {warm[0].cold + sum(one.cold for one in roomy)}",
            "reasons of cold starts that count: " + (", ".join(str(one.reasons) for one in ours if one.cold) or "none"),
        ],
    )


def _rows(ours: Sequence[_Turn], roomy: Sequence[_Turn], most: int) -> list[Row]:
    def both(what: str, unit: str, of: str) -> Row:
        mine, floor = ([getattr(one.seen, of) for one in each] for each in (ours, roomy))
        return row_beside(what, unit, mine, floor, _ROOMY)

    cold = [100 * one.cold / max(1, one.seen.count) for one in ours]
    return [
        row("cold starts, of all activations, once warm", "%", cold, budget="<= 1"),
        both("throughput", "/s", "rate"),
        both("p50", "µs", "p50"),
        both("p99", "µs", "p99"),
        row("containers at one time, at most", "", [most], budget=f"<= {PLACES}"),
    ]
