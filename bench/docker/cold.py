"""`cold` on Docker: every phase from the message to the answer, beside the same steps by the simplest of clients.

The action says when its code was loaded and when it was entered, by the clock that it shares with this machine; the
calls in between are seen by a tap before the engine's socket.
"""

import itertools
import random
import socket
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from bench import machine
from bench.docker.ground import PORT, DockerGround, DockerHost, bare_container, listening
from bench.docker.tap import Tap
from bench.floor import ask
from bench.messages import FIRST, NAMESPACE, direct_run, init, invocation, is_acknowledgement, is_answer_of_run
from bench.report import Report, Row, progress, row, row_beside
from bench.target import Invoker, folder
from invoker.entities.function import Function, Limits

_FLOOR: Final = "create, start, inspect, connect, /init and /run, one after the other, by http.client; nothing attached"
_CODE: Final = {
    "python": """import time
loaded = time.time_ns() // 1000
def main(args):
    return {"n": args["n"], "loaded": loaded, "entered": time.time_ns() // 1000}
""",
    "nodejs": """const now = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
const loaded = now();
const main = args => ({n: args.n, loaded, entered: now()});
""",
}
_COMMENTS: Final = {"python": "#", "nodejs": "//"}
_PAUSE: Final = 0.3
"""Seconds before each start, for whatever the last one has left the machine to do."""
_STEPS: Final = {"create": "create", "attach": "attach", "start": "start", "address": "json"}


class _Times(msgspec.Struct):
    """What the action says: Unix time in microseconds."""

    loaded: int
    entered: int


class _Response(msgspec.Struct):
    result: _Times


class _Record(msgspec.Struct):
    response: _Response


class _Ack(msgspec.Struct):
    response: _Record


class _Cold(NamedTuple):
    """One cold start. Milliseconds."""

    whole: float
    before: float
    """Until the create call begins."""
    steps: dict[str, float]
    between: float
    """From the first call's begin to the last one's end, less the calls."""
    boot: float
    """From the last call until the function's code is loaded: the proxy boots, is connected to, reads /init."""
    init: float
    """From there until the function is entered: /init is answered, /run is sent."""
    run: float


def measure(report: Report, ground: DockerGround, *, quick: bool) -> None:
    """Measure both languages."""
    for family in ("python", "nodejs"):
        section = f"cold start on Docker, {family}"
        progress(section)
        with folder() as where, Tap(where / "engine.sock", ground.engine.address) as tap:
            runtime = ground.runtime(where)
            runtime.url = tap.url
            _measure(report, section, runtime, tap, family, 5 if quick else 15)


def _measure(report: Report, section: str, runtime: DockerHost, tap: Tap, family: str, rounds: int) -> None:
    invoker = Invoker(runtime.where, runtime)
    functions = invoker.put([_stamping(family, number) for number in range(rounds + 1)])
    with invoker:
        _ours(report, section, invoker, tap, functions[0], FIRST)  # finds no file in the page cache
        bare, ours = [], []
        used = machine.cpu_ns(invoker.pid)
        for number, function in enumerate(functions[1:], FIRST + 1):
            time.sleep(_PAUSE)
            bare.append(_bare(report, section, runtime, family, function, number))
            time.sleep(_PAUSE * (1 + random.random()))  # never in step with whatever polls
            ours.append(_ours(report, section, invoker, tap, function, number))
        cpu = (machine.cpu_ns(invoker.pid) - used) / rounds / 1e6
        calls = len(tap.calls)
    report.add(
        section,
        [*_rows(ours, bare), row("CPU of the invoker for each", "ms", [cpu])],
        [f"{calls} calls of the engine's API in all, start and pings included"],
    )


def _rows(ours: Sequence[_Cold], bare: Sequence[_Cold]) -> list[Row]:
    def both(what: str, of: str, budget: str = "") -> Row:
        mine, floor = ([getattr(one, of) for one in each] for each in (ours, bare))
        return row_beside(what, "ms", mine, floor, _FLOOR, budget=budget)

    rows = [
        both("from the message to its answer", "whole"),
        row("  until the create call", "ms", [one.before for one in ours]),
    ]
    for step in _STEPS:
        mine = [one.steps[step] for one in ours]
        if step in bare[0].steps:
            rows.append(row_beside(f"  {step}", "ms", mine, [one.steps[step] for one in bare], _FLOOR))
        else:
            rows.append(row(f"  {step}", "ms", mine))
    return [
        *rows,
        row("  between those calls", "ms", [one.between for one in ours]),
        both("  connect: the proxy boots, listens, has /init", "boot"),
        both("  init: answered, /run is there", "init"),
        both("  run: until the answer", "run"),
    ]


def _stamping(family: str, number: int) -> Function:
    code = f"{_COMMENTS[family]} {number}\n{_CODE[family]}"
    return Function(
        path=NAMESPACE, name=f"cold-{number}", kind=f"{family}:default", code=code, limits=Limits(memory=128)
    )


def _bare(report: Report, section: str, runtime: DockerHost, family: str, function: Function, number: int) -> _Cold:
    engine = runtime.engine
    engine.ask("GET", "/_ping")  # connected, as the invoker is
    marks = [_now()]
    with bare_container(runtime, f"bare-{number}", family) as container:
        marks.append(_now())
        engine.start(container)
        marks.append(_now())
        address = engine.address_of(container)
        marks.append(_now())
        with listening((address, PORT)) as connection:
            ask(connection, init(function))
            answer = ask(connection, direct_run(function).render(number))
            ended = _now()
    if not is_answer_of_run(answer, number):
        report.fault(section, [repr(answer[:300])])
    taken = [(after - begun) / 1e3 for begun, after in itertools.pairwise(marks)]
    steps = dict(zip(("create", "start", "address"), taken, strict=True))
    return _split(marks[0], ended, steps, (marks[0], marks[-1]), msgspec.json.decode(answer, type=_Times))


def _ours(report: Report, section: str, invoker: Invoker, tap: Tap, function: Function, number: int) -> _Cold:
    with socket.create_connection(("127.0.0.1", invoker.port)) as connection:
        request = invocation(function).render(number)
        before = len(tap.calls)
        begun = _now()
        answer = ask(connection, request)
        ended = _now()
    if not is_acknowledgement(answer, number):
        report.fault(section, [repr(answer[:300])])
    calls = [call for call in tap.calls[before:] if "/containers/" in call.path]
    named = {step: [one for one in calls if one.path.endswith(f"/{end}")] for step, end in _STEPS.items()}
    if any(len(found) != 1 for found in named.values()):
        report.fault(section, [f"not the calls of one cold start: {calls}"])
    steps = {step: sum(one.ended - one.begun for one in found) / 1e3 for step, found in named.items()}
    span = (min(one.begun for one in calls), max(one.ended for one in calls))
    return _split(begun, ended, steps, span, msgspec.json.decode(answer, type=_Ack).response.response.result)


def _split(begun: int, ended: int, steps: dict[str, float], span: tuple[int, int], times: _Times) -> _Cold:
    return _Cold(
        whole=(ended - begun) / 1e3,
        before=(span[0] - begun) / 1e3,
        steps=steps,
        between=(span[1] - span[0]) / 1e3 - sum(steps.values()),
        boot=(times.loaded - span[1]) / 1e3,
        init=(times.entered - times.loaded) / 1e3,
        run=(ended - times.entered) / 1e3,
    )


def _now() -> int:
    return time.time_ns() // 1000
