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
from invoker.contracts import Admission
from invoker.entities.activation import Ack, Activation
from invoker.entities.container import Reply
from invoker.entities.function import Function
from invoker.entities.request import Request
from invoker.functions import function_cache
from invoker.invocation.door import Door
from invoker.invocation.execution import Execution
from invoker.invocation.invoker import Invoker
from invoker.invocation.limits import LimitsCheck
from invoker.invocation.outcome import Outcomes
from invoker.invocation.reporting import Reporting
from invoker.pool import container_pool
from invoker.recording import Recorder
from invoker.telemetry import ActivationTelemetry, Metrics
from invoker.testing.builders import a_function
from invoker.testing.containers import KINDS, FakeContainer, FakeRuntime, reply
from invoker.testing.stores import MemoryActivations, MemoryStore
from invoker.wire.locked import Keys
from invoker.wire.request import message
from invoker_attached_logs.follower import AttachedLogs

HELLO = a_function(name="hello", revision="1-a")


class Heard:
    """Answers that remember."""

    def __init__(self, *, splits: bool = False, broken: bool = False) -> None:
        self.splits = splits
        self.said: list[tuple[str, Activation | None]] = []
        self._broken = broken

    async def accepted(self) -> None:
        self._hear("accepted", None)

    async def result(self, activation: Activation) -> None:
        self._hear("result", activation)

    async def completed(self, activation: Activation, ack: Ack) -> None:
        self._hear(ack.value, activation)

    def _hear(self, word: str, activation: Activation | None) -> None:
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
    """An invoker of fakes. `records` has what reached the recorder."""

    def __init__(self, invoker: Invoker, recorder: Recorder, door: Door, runtime: FakeRuntime) -> None:
        self.invoker = invoker
        self.door = door
        self.runtime = runtime
        self._recorder = recorder

    @property
    def records(self) -> list[Activation]:
        return [activation for activation, _ in self._recorder._waiting]

    async def invoke(self, request: Request, heard: Heard | None = None) -> Heard:
        """Send one message through the door and along the line."""
        answers = heard or Heard()
        await self.invoker.invoke(self.invoker.admit(message(request), via="test"), answers)
        return answers


@asynccontextmanager
async def a_line(
    runtime: FakeRuntime,
    *functions: Function,
    compat: Compat = "openwhisk",
    keys: dict[str, Secret] | None = None,
    admissions: Sequence[Admission] = (),
    recording: RecordingSettings | None = None,
    observers: Callable[[Activation], None] | None = None,
    intake: IntakeSettings | None = None,
    limits: LimitsSettings | None = None,
    pool_settings: PoolSettings | None = None,
) -> AsyncIterator[Line]:
    limits, pool_settings = limits or LimitsSettings(), pool_settings or PoolSettings()
    settings = recording or RecordingSettings()
    recorder = Recorder(MemoryActivations(), settings)
    outcomes = Outcomes(compat)
    door = Door(recorder, intake or IntakeSettings(), limits)
    async with (
        container_pool(
            runtime, AttachedLogs(compat), pool_settings, node=NodeSettings(), limits=limits, runtimes=KINDS
        ) as pool,
        function_cache(MemoryStore(*functions), KINDS, FunctionsSettings(), exact=compat == "functions") as cache,
    ):
        invoker = Invoker(
            door=door,
            admissions=admissions,
            functions=cache,
            keys=Keys(keys or {}, unknown="refuse"),
            limits=LimitsCheck(limits, pool_settings.memory, compat),
            pool=pool,
            execution=Execution(outcomes, LogsSettings(), limits, compat),
            outcomes=outcomes,
            reporting=Reporting(recorder, ActivationTelemetry(Metrics(), None), observers, settings, compat),
            clock=time.time_ns,
        )
        yield Line(invoker, recorder, door, runtime)


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
