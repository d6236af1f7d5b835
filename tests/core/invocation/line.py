"""The straight line with fakes at every edge, and what came out of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from invoker.config import (
    Compat,
    FunctionsSettings,
    IntakeSettings,
    LimitsSettings,
    LogsSettings,
    NodeSettings,
    PoolSettings,
    RecordingSettings,
    Secret,
)
from invoker.contracts import Admission, Answers, Observer
from invoker.entities.activation import Ack, Activation
from invoker.entities.container import Reply
from invoker.entities.function import Function
from invoker.entities.request import Request
from invoker.functions import LimitsCheck, function_cache
from invoker.invocation.admission import AdmissionControl
from invoker.invocation.delivery import Delivery
from invoker.invocation.execution import Execution
from invoker.invocation.invoker import Invoker
from invoker.pool import container_pool
from invoker.recording import Recorder
from invoker.telemetry import ActivationTelemetry, Metrics
from invoker.testing.builders import a_function
from invoker.testing.containers import KINDS, FakeContainer, FakeRuntime, reply
from invoker.testing.stores import MemoryActivations, MemoryStore
from invoker.wire.locked import Keys
from invoker.wire.outcome import Outcomes
from invoker.wire.record import read
from invoker.wire.request import message
from invoker_attached_logs.follower import AttachedLogs

HELLO = a_function(name="hello", revision="1-a")


class Heard(Answers):
    """Answers that remember. Each is slow for as long as its `gate` is not set."""

    def __init__(self, *, splits: bool = False, broken: bool = False) -> None:
        self.splits = splits
        self.said: list[tuple[str, Activation | None]] = []
        self.gates = {word: _open() for word in ("accepted", "result", "completed")}
        self.begun: list[str] = []
        """Answers that were begun, whether they came to an end or not."""
        self.cancelled: list[str] = []
        self.ended = asyncio.Event()
        """The last answer was given, or was not."""
        self._broken = broken

    async def accepted(self) -> None:
        await self._hear("accepted", "accepted", None)

    async def result(self, activation: Activation) -> None:
        await self._hear("result", "result", activation)

    async def completed(self, activation: Activation, ack: Ack) -> None:
        try:
            await self._hear("completed", ack.value, activation)
        finally:
            self.ended.set()

    async def _hear(self, step: str, word: str, activation: Activation | None) -> None:
        self.begun.append(step)
        try:
            await self.gates[step].wait()
        except asyncio.CancelledError:
            self.cancelled.append(step)
            raise
        self.said.append((word, activation))
        if self._broken:
            raise ConnectionResetError("the caller is gone")

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.said]

    @property
    def activation(self) -> Activation:
        """The one that came last."""
        activation = self.said[-1][1]
        assert activation is not None
        return activation


class Line:
    """An invoker of fakes."""

    def __init__(self, invoker: Invoker, recorder: Recorder, admission: AdmissionControl, delivery: Delivery) -> None:
        self.invoker = invoker
        self.recorder = recorder
        self.admission = admission
        self.delivery = delivery

    @property
    def records(self) -> list[Activation]:
        """What has reached the recorder, which keeps all."""
        return [read(entry.record.document) for entry in self.recorder._waiting]

    def begin(self, request: Request | bytes, heard: Heard | None = None) -> Heard:
        """Send one message in."""
        answers = heard or Heard()
        body = request if isinstance(request, bytes) else message(request)
        self.invoker.invoke(self.invoker.admit(body, via="test"), answers)
        return answers

    async def invoke(self, request: Request | bytes, heard: Heard | None = None) -> Heard:
        """Send one message in, and wait for its end."""
        answers = self.begin(request, heard)
        await answers.ended.wait()
        return answers

    def cut_off_in_init(self) -> Heard:
        """Cancel the task of the invocation that is in `/init`, as nobody should; return its answers."""
        (invocation,) = (one for one in self.invoker._invocations if one.init_start)
        invocation.task.cancel()
        assert isinstance(invocation.answers, Heard)
        return invocation.answers


@asynccontextmanager
async def a_line(
    runtime: FakeRuntime,
    *functions: Function,
    compat: Compat = "openwhisk",
    keys: dict[str, Secret] | None = None,
    judges: Sequence[Admission] = (),
    recording: RecordingSettings | None = None,
    recorder: Recorder | None = None,
    observers: Sequence[Observer] = (),
    intake: IntakeSettings | None = None,
    limits: LimitsSettings | None = None,
    waits: LogsSettings | None = None,
    pool_settings: PoolSettings | None = None,
    wall: Callable[[], int] = time.time_ns,
    monotonic: Callable[[], int] = time.monotonic_ns,
    clock: Callable[[], float] = time.monotonic,
    store: MemoryStore | None = None,
) -> AsyncIterator[Line]:
    limits, pool_settings = limits or LimitsSettings(), pool_settings or PoolSettings()
    records, intake = recording or RecordingSettings(), intake or IntakeSettings()
    recorder = recorder or Recorder(MemoryActivations(), records, compat)
    outcomes = Outcomes(compat)
    admission = AdmissionControl(recorder, intake, limits)
    telemetry = ActivationTelemetry(Metrics(), None)
    async with (
        container_pool(
            runtime,
            AttachedLogs(compat),
            pool_settings,
            node=NodeSettings(),
            limits=limits,
            runtimes=KINDS,
            clock=clock,
        ) as pool,
        function_cache(
            store or MemoryStore(*functions), KINDS, FunctionsSettings(), exact=compat == "functions", clock=clock
        ) as cache,
    ):
        delivery = Delivery(
            recorder, observers, telemetry, admission, records, compat=compat, timeout=intake.answer_timeout
        )
        invoker = Invoker(
            admission=admission,
            judges=judges,
            functions=cache,
            keys=Keys(keys or {}, unknown="refuse"),
            limits=LimitsCheck(limits, pool_settings.memory, compat),
            pool=pool,
            execution=Execution(outcomes, delivery, waits or LogsSettings(), limits, compat),
            outcomes=outcomes,
            delivery=delivery,
            wall=wall,
            monotonic=monotonic,
        )
        try:
            yield Line(invoker, recorder, admission, delivery)
        finally:
            invoker.break_off()
            await invoker.drain()
            await invoker.close(0)


async def forever(container: FakeContainer, path: str, body: bytes) -> Reply:
    """A script of an action that never ends."""
    if path == "/run":
        await asyncio.Event().wait()
    return reply(b"{}")


def result(activation: Activation) -> object:
    """Return the response as plain values."""
    return msgspec.json.decode(activation.outcome.response)


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until `condition` holds."""
    while not condition():
        await asyncio.sleep(0)


def _open() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate
