"""`path`: one warm invocation without any I/O, in this process: the whole line, and what its steps take.

The stores, the container and the caller's socket are stand-ins that do nothing; all else is real: the connection, the
core, the log follower. What the line takes here is what Python and the parsers take; system calls come on top of it
(`profile` shows them). Stretches are cut out of the whole line where it passes a stand-in; steps are timed
alone, in a tight loop that the processor's caches like, so that their sum is less than the line.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Final, cast

import msgspec
import uvloop

from bench import messages
from bench.report import Report, Row, progress, row
from bench.standins import RUNTIME, Marks, Socket, StandIns, Writer
from bench.target import echoes
from invoker.app import Core, opened
from invoker.config import (
    LimitsSettings,
    NodeSettings,
    PoolSettings,
    Settings,
    TelemetrySettings,
    node_of,
)
from invoker.contracts import Admitted, Answers, Intake
from invoker.entities.activation import Ack, Activation, ActivationRecord
from invoker.entities.container import ContainerSpec, Reply, Stream
from invoker.entities.function import Executable, Function
from invoker.functions import LimitsCheck
from invoker.invocation.invocation import Invocation
from invoker.plugins import Plugins
from invoker.sentinel import SENTINEL_LINE
from invoker.telemetry import ActivationTelemetry, Finished, LogWriter, Metrics
from invoker.testing.builders import a_request
from invoker.wire import action_proxy
from invoker.wire import request as wire
from invoker.wire.acknowledgement import Acknowledger
from invoker.wire.outcome import Outcomes
from invoker.wire.record import recorded
from invoker_attached_logs.follower import AttachedLogs
from invoker_http.connection import BodyAnswers, Connections, HttpConnection
from invoker_http.endpoints import HttpRequest, MessageEndpoint
from invoker_http.responses import Refusals
from invoker_http.settings import HttpSettings
from invoker_sqlite.activations import row_of

REQUEST = a_request()

_SECTION: Final = "path"
_REPEATS: Final = 5
_BATCH: Final = 500
"""Records that make a batch of which the recorder waits for no more."""
_now: Final = time.thread_time_ns


class _Bench:
    """The line, ready to be walked."""

    def __init__(self, core: Core, function: Function, marks: Marks) -> None:
        self.marks = marks
        self.core = core
        self.function = function
        self.request = messages.invocation(function).render(messages.FIRST)
        self.acknowledger = Acknowledger(node_of(NodeSettings(), PoolSettings()), spelling="both", compat="openwhisk")
        self.socket, self.connection = self.connected(core.invoker)

    @property
    def body(self) -> bytes:
        """The message."""
        return self.request.partition(b"\r\n\r\n")[2]

    def connected(self, intake: Intake) -> tuple[Socket, HttpConnection]:
        """Return a caller's side of a connection, and ours."""
        endpoint = MessageEndpoint(intake, lambda: False, limit=LimitsSettings().message, hosts=())
        refusals = Refusals(asyncio.get_running_loop().time)
        owner = Connections(endpoint, intake, self.acknowledger, HttpSettings(), refusals, most=1)
        connection = HttpConnection(owner)
        socket = Socket(self.marks)
        connection.connection_made(socket)
        return socket, connection

    async def walk(self) -> None:
        """One invocation, from the request's bytes to the answer's."""
        self.marks.start()
        self.socket.answered.clear()
        self.connection.data_received(self.request)
        await self.socket.answered.wait()
        self.marks.pass_by("after the answer: metrics, log line, task")

    async def whole(self, count: int) -> float:
        """Return the microseconds of one invocation."""
        taken = 0
        for _ in range(count // _BATCH):
            begun = _now()
            for _ in range(_BATCH):
                await self.walk()
            taken += _now() - begun
            while self.core.recorder.pending:  # noqa: ASYNC110 (the recorder takes them, outside of the clock)
                await asyncio.sleep(0)
        return taken / count / 1e3


def measure(report: Report, *, quick: bool) -> None:
    """Measure the line and its steps."""
    progress(_SECTION)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows, faults = runner.run(_measure(2_000 if quick else 20_000))
    report.add(_SECTION, rows)
    report.fault(_SECTION, faults)


async def _measure(count: int) -> tuple[list[Row], list[str]]:
    (function,) = echoes(1)
    function = msgspec.structs.replace(function, revision="1-bench")
    settings = Settings.of(TelemetrySettings())
    marks = Marks()
    plugins = cast("Plugins", StandIns(function, marks))
    async with opened(plugins, settings, cast("LogWriter", Writer())) as core:
        bench = _Bench(core, function, marks)
        await bench.whole(500)
        marks.taken.clear()
        rows = [row("the whole line", "µs", [await bench.whole(count) for _ in range(_REPEATS)])]
        for stretch, taken in marks.taken.items():
            rows.append(row(f"  {stretch}", "µs", [statistics.median(taken) / 1e3]))
        gc.disable()
        rows.append(
            row("the whole line without garbage collection", "µs", [await bench.whole(count) for _ in range(_REPEATS)])
        )
        gc.enable()
        answer = bench.socket.last.split(b"\r\n")[1]
        right = messages.is_acknowledgement(answer, messages.FIRST)
        for what, step in _Steps(bench).all():
            rows.append(row(f"  {what}", "µs", [_timed(step, count) for _ in range(_REPEATS)]))
        for what, slow in (
            ("HTTP: a request, its receipt and its answer, from a core that does nothing", _http),
            ("lease a warm container and return it", _lease),
            ("logs: begin, two sentinels, end", _logs),
        ):
            rows.append(row(f"  {what}", "µs", [await slow(bench, count) for _ in range(_REPEATS)]))
    return rows, [] if right else [f"not the acknowledgement: {answer[:300]!r}"]


def _timed(step: Callable[[], object], count: int) -> float:
    begun = _now()
    for _ in range(count):
        step()
    return (_now() - begun) / count / 1e3


class _Idle:
    """A core that does nothing: see `Intake`."""

    def __init__(self, admitted: Admitted, activation: Activation) -> None:
        self._admitted = admitted
        self._activation = activation
        self.answers: Answers | None = None

    def admit(self, *_: object, **__: object) -> Admitted:
        """See `Intake`."""
        return self._admitted

    def invoke(self, _: Admitted, answers: Answers) -> None:
        """See `Intake`."""
        self.answers = answers

    def reserve(self, size: int) -> None:
        """See `Intake`."""

    release = reserve

    async def answer(self) -> None:
        """Give the receipt and the answer."""
        assert self.answers is not None
        await self.answers.accepted()
        await self.answers.completed(self._activation, Ack.COMBINED)


async def _http(bench: _Bench, count: int) -> float:
    steps = _Steps(bench)
    idle = _Idle(steps.admitted, steps.activation)
    _, connection = bench.connected(cast("Intake", idle))
    begun = _now()
    for _ in range(count):
        connection.data_received(bench.request)
        await idle.answer()
        await asyncio.sleep(0)  # the next turn of the loop, as there is for each
    return (_now() - begun) / count / 1e3


async def _lease(bench: _Bench, count: int) -> float:
    request = wire.parse(bench.body)
    executable = await bench.core.invoker.functions.fetch(request.function)
    pool = bench.core.pool
    begun = _now()
    for _ in range(count):
        async with pool.lease(executable, request) as lease:
            lease.keep = True
            if not lease.warm:
                lease.initialised(None)
    return (_now() - begun) / count / 1e3


async def _logs(bench: _Bench, count: int) -> float:
    spec = ContainerSpec(name="bench", runtime=RUNTIME, memory=bench.function.limits.memory_bytes)
    follower = AttachedLogs("openwhisk").follow(spec)
    begun = _now()
    for _ in range(count):
        follower.begin(REQUEST, 10 << 20)
        follower.write(Stream.STDOUT, SENTINEL_LINE)
        follower.write(Stream.STDERR, SENTINEL_LINE)
        await follower.settled(1)
        follower.end(expected=True)
    return (_now() - begun) / count / 1e3


class _Steps:
    """What happens on the line, each with what it gets there."""

    def __init__(self, bench: _Bench) -> None:
        self.bench = bench
        request = wire.parse(bench.body)
        self.admitted = Admitted(request, len(bench.body), "http", {})
        self.request = request
        self.reply = Reply(200, b'{"n":1000000000}', 16)
        self.outcomes = Outcomes("openwhisk")
        self.telemetry = ActivationTelemetry(Metrics(), cast("LogWriter", Writer()))
        self.limits = LimitsCheck(LimitsSettings(), 2 << 30, "openwhisk")
        self.invocation = self.begun()
        self.invocation.executable = Executable(bench.function, RUNTIME)
        self.outcome = self.outcomes.ran(self.reply, 1 << 20)
        self.activation = self.invocation.activation(self.outcome)

    def all(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield each step's name and what does it."""
        bench, request, function = self.bench, self.request, self.bench.function
        self.invocation.run_start = self.invocation.run_end = self.invocation.now()
        content = request.content
        assert content is not None
        yield "message: decode", lambda: wire._MESSAGE.decode(bench.body)  # noqa: SLF001 (a part of the next)
        yield "message: decode and check (parse)", lambda: wire.parse(bench.body)
        yield "facts of the invocation", self.begun
        yield "limits", lambda: self.limits.violation(function.limits, request.caller.limits)
        yield "/run: body", lambda: action_proxy.run_body(request, content, function, deadline=1_888_888_888_888)
        yield "/run: outcome of the reply", lambda: self.outcomes.ran(self.reply, 1 << 20)
        yield "activation", lambda: self.invocation.activation(self.outcome)
        yield "acknowledgement: encode", lambda: bench.acknowledger.encode(Ack.COMBINED, request, self.activation)
        yield "metrics and log line", self.tell
        record = self.recorded()
        yield "record: encode", self.recorded
        yield "record: SQLite row (in its own thread)", lambda: row_of(record, 1_888_888_888_888)

    def recorded(self) -> ActivationRecord:
        """Encode the record."""
        return recorded(self.activation, compat="openwhisk", updated=1_888_888_888_888)

    def begun(self) -> Invocation:
        """Make what an invocation begins with."""
        bench = self.bench
        answers = BodyAnswers(bench.connection, bench.acknowledger, self.request, HttpRequest())
        return Invocation(self.admitted, answers, time.time_ns() - time.monotonic_ns(), time.monotonic_ns)

    def tell(self) -> None:
        """Count and log."""
        self.telemetry.finished(
            Finished(
                activation=self.activation,
                admitted=self.admitted,
                container="wsk0_1a2b3c4d_1",
                start="warm",
                run_time=1,
                log_time=0,
            )
        )
