"""`http`: what the invoker adds to a direct call of the action proxy, its throughput, and its CPU time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from bench import machine
from bench.floor import Relay
from bench.ground import Address, Ground
from bench.load import Load, Round, Seen, Target
from bench.messages import direct_run, invocation
from bench.report import Report, Row, progress, row, row_beside
from bench.target import Invoker, echoes, folder
from invoker.entities.function import Function

SHARED: Final = 4
"""Actions that all clients share, where they share."""

_RELAY: Final = "CPU: a relay that decodes, calls /run and acknowledges, and does nothing else (relay.py)"
_LOGS: Final = "from /run's reply until the logs are complete, mean"
_HOPS: Final = "a direct call stays on one core; what the relay adds is the way to the other core and back, twice"


class Plan(NamedTuple):
    """How much is measured."""

    proxy: str
    rounds: int
    seconds: float
    own: tuple[int, ...]
    """Numbers of clients, each with an action and so a warm container of its own."""
    shared: tuple[int, ...]
    """Numbers of clients that share `SHARED` actions."""

    @classmethod
    def of(cls, proxy: str, *, quick: bool) -> "Plan":
        """Return what `python -m bench http` measures, or a minute's worth of it."""
        if quick:
            return cls(proxy, 5, 0.35, (1, 32), (32,))
        return cls(proxy, 7, 1.0, (1, 8, 32, 64), (1, 8, 32, 64))


class _Place(NamedTuple):
    """Where rounds are run: ours and both floors, ready."""

    load: Load
    invoker: Invoker
    proxies: Sequence[Address]
    relay: Relay
    functions: Sequence[Function]
    """As the invoker's store has them."""
    direct_is: str

    def ours(self, clients: int, seconds: float) -> Seen:
        """Run a round through the invoker."""
        chosen = [self.functions[number % len(self.functions)] for number in range(clients)]
        targets = tuple(Target(self.invoker.port, (invocation(one),)) for one in chosen)
        return self.load.run(
            Round(targets=targets, expect="acknowledgement", seconds=seconds, watch=self.invoker.watched)
        )

    def direct(self, clients: int, seconds: float) -> Seen:
        """Run a round past it."""
        chosen = [number % len(self.proxies) for number in range(clients)]
        targets = tuple(
            Target(port, (direct_run(self.functions[one]),), host)
            for one, (host, port) in ((one, self.proxies[one]) for one in chosen)
        )
        return self.load.run(Round(targets=targets, expect="result", seconds=seconds))

    def relayed(self, clients: int, seconds: float) -> Seen:
        """Run a round through the relay."""
        targets = (Target(self.relay.port, (invocation(self.functions[0]),)),) * clients
        return self.load.run(Round(targets=targets, expect="acknowledgement", seconds=seconds, watch=(self.relay.pid,)))


def measure(report: Report, plan: Plan, ground: Ground) -> None:
    """Measure all of the plan."""
    with _ready(plan, max(plan.own), ground) as place:
        _latency(report, plan, place)
        for clients in plan.own:
            _throughput(report, plan, place, clients, "an action of its own each")
    with _ready(plan, SHARED, ground) as place:
        for clients in plan.shared:
            _throughput(report, plan, place, clients, f"{SHARED} actions for all")


@contextmanager
def _ready(plan: Plan, actions: int, ground: Ground) -> Iterator[_Place]:
    """Start everything. Nothing is paused while the floor has its turn."""
    with folder() as where, Load() as load:
        runtime = ground.runtime(where, plan.proxy)
        invoker = Invoker(where, runtime, pool={"pause": False})
        functions = invoker.put(echoes(actions))
        with invoker, runtime.direct(functions) as proxies, Relay(proxies) as relay:
            yield _Place(load, invoker, proxies, relay, functions, runtime.direct_is)


def _latency(report: Report, plan: Plan, place: _Place) -> None:
    section = f"http, latency at 1 client, {plan.proxy} action proxy"
    progress(section)
    _warm(report, section, place, 1)
    direct, relayed, ours = [], [], []
    logs: list[float] = []
    for _ in range(plan.rounds):
        direct.append(place.direct(1, plan.seconds))
        relayed.append(place.relayed(1, plan.seconds))
        with place.invoker.log_times(logs):
            ours.append(place.ours(1, plan.seconds))
    _check(report, section, (*direct, *relayed, *ours))
    report.add(
        section,
        [
            row_beside("p50", "µs", _p50(ours), _p50(direct), place.direct_is, budget="added <= 120"),
            row_beside("  of the relay", "µs", _p50(relayed), _p50(direct), place.direct_is),
            row_beside("p99", "µs", _p99(ours), _p99(direct), place.direct_is),
            row_beside("  of the relay", "µs", _p99(relayed), _p99(direct), place.direct_is),
            row(_LOGS, "µs", logs),
        ],
        [_HOPS],
    )


def _throughput(report: Report, plan: Plan, place: _Place, clients: int, whose: str) -> None:
    section = f"http, {clients} clients, {whose}, {plan.proxy} action proxies"
    progress(section)
    _warm(report, section, place, clients)
    direct, relayed, ours = [], [], []
    logs: list[float] = []
    for _ in range(plan.rounds):
        direct.append(place.direct(clients, plan.seconds))
        relayed.append(place.relayed(clients, plan.seconds))
        with place.invoker.log_times(logs):
            ours.append(place.ours(clients, plan.seconds))
    _check(report, section, (*direct, *relayed, *ours))
    invoker = place.invoker
    notes = [f"{invoker.runtime.containers()} containers, {machine.resident(invoker.pid) >> 20} MB resident"]
    report.add(section, [*_rows(place, ours, direct, relayed), row(_LOGS, "µs", logs)], notes)


def _rows(place: _Place, ours: Sequence[Seen], direct: Sequence[Seen], relayed: Sequence[Seen]) -> list[Row]:
    rates = [one.rate for one in ours]
    return [
        row_beside("CPU per invocation", "µs", _cpu(ours, 0), _cpu(relayed, 0), _RELAY, budget="<= 60, then 45"),
        *(row("  and of the supervisor", "µs", _cpu(ours, one)) for one in range(1, len(place.invoker.watched))),
        row_beside("throughput", "/s", rates, [one.rate for one in direct], place.direct_is),
        row_beside("p50", "µs", _p50(ours), _p50(direct), place.direct_is),
        row_beside("p99", "µs", _p99(ours), _p99(direct), place.direct_is),
        row("worst", "µs", [one.worst for one in ours]),
    ]


def _cpu(seen: Sequence[Seen], process: int) -> list[float]:
    return [one.cpu[process] / max(1, one.count) * 1e6 for one in seen]


def _p50(seen: Sequence[Seen]) -> list[float]:
    return [one.p50 for one in seen]


def _p99(seen: Sequence[Seen]) -> list[float]:
    return [one.p99 for one in seen]


def _warm(report: Report, section: str, place: _Place, clients: int) -> None:
    """Have every container started and every path walked before anything counts."""
    _check(report, section, (place.ours(clients, 0.5), place.direct(clients, 0.2), place.relayed(clients, 0.2)))


def _check(report: Report, section: str, seen: Sequence[Seen]) -> None:
    for one in seen:
        report.fault(section, one.faults)
