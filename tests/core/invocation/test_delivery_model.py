"""Delivery against a model: whatever breaks, is cut off or takes its time, at whatever await.

Every step of an invocation waits until the machine says how it ends: the receipt, the function store, the start of a
container, `/init`, `/run`, the logs, the early result, the completion. Recorder and observer may fail.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from invoker.config import ByteSize, IntakeSettings, PoolSettings, RecordingSettings, Seconds
from invoker.contracts import Answers, Observer, Output
from invoker.entities.activation import Ack, Activation
from invoker.entities.container import ContainerSpec, ContainerState, Reply, Stream
from invoker.entities.function import Function, FunctionRef
from invoker.entities.request import Request
from invoker.errors import (
    Busy,
    Draining,
    FunctionNotFound,
    InvokerError,
    Lost,
    PostTimedOut,
    StartFailed,
    StoreUnavailable,
    Unreachable,
)
from invoker.recording import Recorder
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_function, a_request
from invoker.testing.containers import FakeContainer, FakeRuntime, reply
from invoker.testing.stores import MemoryActivations, MemoryStore
from invoker.wire.request import message
from tests.core.invocation.line import Line, a_line
from tests.core.simulation import SimulatedLoop

ANY: Final = st.integers(0, 999)
"""Which of several; shrinks to the first."""
FUNCTIONS: Final = [a_function(name=name, revision="1-a") for name in ("one", "two")]
ANSWER_TIMEOUT: Final = 30.0

Ending = Callable[[], Any]


def fails(error: Exception) -> Ending:
    def end() -> Any:
        raise error

    return end


class Step:
    """Something under way: `ends` has what may become of it, the good end first."""

    def __init__(self, what: str, ends: list[Ending]) -> None:
        self.what = what
        self.ends = ends
        self.future: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()


class Played:
    """All steps that are under way."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    async def step(self, what: str, *ends: Ending) -> Any:
        step = Step(what, list(ends))
        self.steps.append(step)
        try:
            end = await step.future
        finally:
            self.steps.remove(step)
        return end()


def gone(error: Exception) -> list[Ending]:
    return [lambda: None, fails(error)]


class PlayedAnswers(Answers):
    """What one caller heard."""

    def __init__(self, machine: "DeliveryMachine", request: Request, *, splits: bool) -> None:
        self.splits = splits
        self.request = request
        self.said: list[str] = []
        """What was begun, in order; `cancelled` where it did not come to an end."""
        self._machine = machine

    async def accepted(self) -> None:
        await self._say("accepted")

    async def result(self, activation: Activation) -> None:
        assert activation.logs == ()
        await self._say("result")

    async def completed(self, activation: Activation, ack: Ack) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "it looks cancelled to whoever asks"
        expected = activation.activation_id in self._machine.recorded or self._machine.recorder.broke
        assert expected, "it is answered before it is recorded"
        assert activation.activation_id in self._machine.seen, "it is answered before it is observed"
        await self._say(ack.value)

    async def _say(self, word: str) -> None:
        self.said.append(word)
        try:
            await self._machine.played.step(word, *gone(ConnectionResetError("the caller is gone")))
        except asyncio.CancelledError:
            self.said.append("cancelled")
            raise


class PlayedRuntime(FakeRuntime):
    """Starts containers when it is told to."""

    def __init__(self, played: Played) -> None:
        super().__init__(self.play)
        self._played = played

    async def create(self, spec: ContainerSpec, output: Output) -> FakeContainer:
        await self._played.step("create", *gone(StartFailed("nothing starts today")))
        return await super().create(spec, output)

    async def play(self, container: FakeContainer, path: str, body: bytes) -> Reply:
        def end(answer: Reply, *, sentinels: bool = True) -> Ending:
            def ends() -> Reply:
                if sentinels and path == "/run":
                    container.say(SENTINEL_LINE)
                    container.say(SENTINEL_LINE, Stream.STDERR)
                return answer

            return ends

        if path == "/init":
            end_of_init = (end(reply(b"{}")), end(reply(b'{"error":"bad"}', 502)))
        else:
            end_of_init = (end(reply(b'{"ok":1}')), end(reply(b'{"ok":1}'), sentinels=False))
        return await self._played.step(
            path,
            *end_of_init,
            end(reply(b"{}", 503)),
            fails(Lost(ContainerState(running=False))),
            fails(Unreachable("not here")),
            fails(PostTimedOut(60)),
            fails(ZeroDivisionError("a bug")),
        )


class PlayedStore(MemoryStore):
    """Gives functions when it is told to."""

    def __init__(self, played: Played) -> None:
        super().__init__(*FUNCTIONS)
        self._played = played

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        errors: list[InvokerError] = [FunctionNotFound(ref.document_id), StoreUnavailable("down")]
        await self._played.step("fetch", lambda: None, *(fails(error) for error in errors), fails(KeyError("a bug")))
        return await super().fetch(ref, exact=exact)


class PlayedRecorder(Recorder):
    """Fails when it is told to."""

    def __init__(self, machine: "DeliveryMachine") -> None:
        super().__init__(MemoryActivations(), RecordingSettings())
        self._machine = machine
        self.broken = False
        self.broke = False

    def submit(self, activation: Activation) -> None:
        if self.broken:
            self.broke = True
            raise OSError("no space is left")
        self._machine.recorded.append(activation.activation_id)


class PlayedObserver(Observer):
    """Sees all, and fails each second time."""

    def __init__(self, machine: "DeliveryMachine") -> None:
        self._machine = machine

    def finished(self, request: Request, activation: Activation) -> None:
        assert request.activation_id == activation.activation_id
        self._machine.seen.append(activation.activation_id)
        if len(self._machine.seen) % 2:
            raise LookupError("in the observer")


class DeliveryMachine(RuleBasedStateMachine):
    """Runs the event loop until nothing can happen any more, after each rule."""

    line: Line

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        self.played = Played()
        self.recorded: list[str] = []
        self.seen: list[str] = []
        self.admitted: list[PlayedAnswers] = []
        self.draining: asyncio.Task[None] | None = None
        self.rooms: list[asyncio.Task[None]] = []

    @initialize(queue=st.sampled_from([3000, 64 << 20]), starts=st.sampled_from([1, 100]))
    def open(self, *, queue: int, starts: int) -> None:
        self.queue = queue
        self.may_leave = asyncio.Event()

        async def live() -> None:
            self.recorder = PlayedRecorder(self)
            async with a_line(
                PlayedRuntime(self.played),
                store=PlayedStore(self.played),
                recorder=self.recorder,
                observers=[PlayedObserver(self)],
                intake=IntakeSettings(queue_bytes=ByteSize(queue), answer_timeout=Seconds(ANSWER_TIMEOUT)),
                pool_settings=PoolSettings(parallel_starts=starts),
                monotonic=lambda: int(self.loop.time() * 1e9),
                clock=self.loop.time,
            ) as self.line:
                await self.may_leave.wait()

        self.life = self.loop.create_task(live())
        self.loop.run_until_idle()

    # --- rules ------------------------------------------------------------------------------------------------------

    @rule(function=st.sampled_from(FUNCTIONS), blocking=st.booleans(), splits=st.booleans(), count=st.integers(1, 3))
    def invoke(self, function: Function, *, blocking: bool, splits: bool, count: int) -> None:
        self._send(function, blocking, splits, count)
        self.loop.run_until_idle()

    @rule(function=st.sampled_from(FUNCTIONS), splits=st.booleans(), count=st.integers(1, 3))
    def invoke_and_break_off_at_once(self, function: Function, *, splits: bool, count: int) -> None:
        """Before their tasks have made a step."""
        self._send(function, True, splits, count)  # noqa: FBT003
        self.line.invoker.break_off()
        self.loop.run_until_idle()

    @precondition(lambda self: self.played.steps)
    @rule(which=ANY, how=ANY)
    def end(self, which: int, how: int) -> None:
        step = self.played.steps[which % len(self.played.steps)]
        step.future.set_result(step.ends[how % len(step.ends)])
        self.loop.run_until_idle()

    @precondition(lambda self: self.played.steps)
    @rule(which=ANY)
    def end_and_break_off_in_one_turn(self, which: int) -> None:
        step = self.played.steps[which % len(self.played.steps)]
        step.future.set_result(step.ends[0])
        self.line.invoker.break_off()
        self.loop.run_until_idle()

    @rule()
    def all_ends_well(self) -> None:
        for step in list(self.played.steps):
            step.future.set_result(step.ends[0])
        self.loop.run_until_idle()

    @rule(seconds=st.sampled_from([0.006, 0.6, ANSWER_TIMEOUT]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.loop.run_until_idle()

    @rule()
    def break_off(self) -> None:
        self.line.invoker.break_off()
        self.loop.run_until_idle()

    @rule(broken=st.booleans())
    def break_the_recorder(self, *, broken: bool) -> None:
        self.recorder.broken = broken

    @rule(size=st.integers(1, 2000))
    def want_room(self, size: int) -> None:
        self.rooms.append(self.loop.create_task(self.line.invoker.room(size)))
        self.loop.run_until_idle()

    @precondition(lambda self: self.rooms)
    @rule(which=ANY)
    def want_room_no_longer(self, which: int) -> None:
        self.rooms[which % len(self.rooms)].cancel()
        self.loop.run_until_idle()

    @precondition(lambda self: self.draining is None and len(self.admitted) > 2)
    @rule()
    def drain(self) -> None:
        self.draining = self.loop.create_task(self.line.invoker.drain())
        self.loop.run_until_idle()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def each_is_told_in_order_and_freed_once(self) -> None:
        for one in self.admitted:
            told = [word for word in one.said if word != "cancelled"]
            assert told[:1] in ([], ["accepted"])
            assert told[1:] in ([], ["result"], ["combined"], ["shrunk"], ["completion"], ["result", "completion"])
            if told[1:] == ["result"] or told[1:] == ["result", "completion"]:
                assert one.splits
                assert one.request.blocking

    @invariant()
    def nobody_is_recorded_or_seen_twice(self) -> None:
        assert len(set(self.recorded)) == len(self.recorded)
        assert len(set(self.seen)) == len(self.seen)

    @invariant()
    def no_room_is_leaked(self) -> None:
        if not hasattr(self, "line"):
            return
        admission = self.line.admission
        assert admission.running == len(self.line.invoker._invocations)
        assert admission.waiting_bytes >= 0
        if not admission.running:
            assert admission.waiting_bytes == 0
            assert all(one.done() for one in self.rooms), "somebody waits for room in vain"

    @invariant()
    def draining_ends_when_all_have_come_to_their_end(self) -> None:
        if self.draining is not None:
            walking = [one for one in self.line.invoker._invocations if not one.delivering]
            assert self.draining.done() == (not walking)

    # --- the end ----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        self.line.invoker.break_off()
        stop = self.loop.create_task(self._stop())
        for _ in range(1000):
            self.loop.run_until_idle()
            if stop.done():
                break
            self.all_ends_well()
            if not self.played.steps:
                self.wait(ANSWER_TIMEOUT)
        stop.result()
        self.may_leave.set()
        self.loop.run_until_complete(self.life)
        for one in self.rooms:
            one.cancel()
        self.loop.run_until_idle()
        freed = ("combined", "shrunk", "completion")
        for one in self.admitted:
            assert sum(word in freed for word in one.said) == 1
        ids = {one.request.activation_id for one in self.admitted}
        assert set(self.seen) == ids
        assert self.recorder.broke or set(self.recorded) == ids
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()

    async def _stop(self) -> None:
        await self.line.invoker.drain()
        await self.line.invoker.close(ANSWER_TIMEOUT)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _send(self, function: Function, blocking: bool, splits: bool, count: int) -> None:  # noqa: FBT001
        async def send() -> None:
            for _ in range(count):
                request = a_request(function, blocking=blocking)
                try:
                    admitted = self.line.invoker.admit(message(request), via="test")
                except Busy:
                    assert self.queue < 1 << 20
                except Draining:
                    assert self.draining is not None
                else:
                    answers = PlayedAnswers(self, request, splits=splits)
                    self.admitted.append(answers)
                    self.line.invoker.invoke(admitted, answers)

        self.loop.run_until_complete(send())


TestDelivery = DeliveryMachine.TestCase
TestDelivery.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
