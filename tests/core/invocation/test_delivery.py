"""The end of an invocation: its record, then one slot-freeing answer, whatever breaks (spec 2.4)."""

import asyncio

import pytest

from invoker.config import IntakeSettings, RecordingSettings, Seconds
from invoker.contracts import Observer
from invoker.entities.activation import Ack, Activation
from invoker.entities.container import Reply
from invoker.entities.request import CallerLimits, Request
from invoker.errors import Draining
from invoker.invocation.admission import Life
from invoker.recording import Recorder
from invoker.testing.admission import BlockedNamespaces
from invoker.testing.builders import a_caller, a_ref, a_request, a_transaction
from invoker.testing.containers import FakeContainer, FakeRuntime, reply
from invoker.testing.stores import MemoryActivations
from invoker.wire.request import message
from tests.core.invocation.line import HELLO, Heard, Line, a_line, forever, until
from tests.core.simulation import simulated


def recorded_when_answered(line: Line, heard: Heard) -> list[bool]:
    """Have answers note whether the record was there by then."""
    there: list[bool] = []
    tell = heard.completed

    async def completed(activation: Activation, ack: Ack) -> None:
        there.append(activation.activation_id in [record.activation_id for record in line.records])
        await tell(activation, ack)

    heard.completed = completed  # type: ignore[method-assign]
    return there


async def in_its_run(line: Line, runtime: FakeRuntime, heard: Heard | None = None) -> Heard:
    """Return the answers of an invocation whose function runs, for ever."""
    count = len(runtime.created)
    heard = line.begin(a_request(HELLO), heard)
    await until(lambda: len(runtime.created) > count and len(runtime.created[-1].requests) == 2)
    return heard


# --- which answer (the table of spec 2.4) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocking", "found", "namespace", "ack"),
    [
        (True, True, "guest", "combined"),
        (False, True, "guest", "completion"),
        (True, False, "guest", "combined"),
        (False, False, "guest", "shrunk"),
        (True, True, "bad", "shrunk"),
        (False, True, "bad", "shrunk"),
    ],
)
async def test_one_message_frees_the_slot(blocking: bool, found: bool, namespace: str, ack: str) -> None:  # noqa: FBT001
    functions = [HELLO] if found else []
    async with a_line(FakeRuntime(), *functions, judges=[BlockedNamespaces("bad")]) as line:
        heard = await line.invoke(a_request(HELLO, blocking=blocking, caller=a_caller(namespace=namespace)))

    assert heard.words == ["accepted", ack]


# --- the order of what must not be lost --------------------------------------------------------------------------


async def test_the_record_is_there_before_the_answer_is_begun() -> None:
    async with a_line(FakeRuntime(), HELLO) as line:
        heard = Heard()
        there = recorded_when_answered(line, heard)
        await line.invoke(a_request(HELLO), heard)

    assert there == [True]


async def test_a_recorder_that_breaks_costs_the_record_and_not_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        def submit(self, activation: Activation) -> None:
            raise OSError("no space is left")

    async with a_line(FakeRuntime(), HELLO, recorder=Broken(MemoryActivations(), RecordingSettings())) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.words == ["accepted", "combined"]
        assert (line.admission.running, line.admission.waiting_bytes) == (0, 0)
    assert f"the record of activation {heard.activation.activation_id} is lost" in caplog.text
    assert "no space is left" in caplog.text


class Watcher(Observer):
    """Sees what it is told, and what had been answered by then."""

    def __init__(self) -> None:
        self.seen: list[tuple[Request, Activation, list[str]]] = []
        self.heard = Heard()

    def finished(self, request: Request, activation: Activation) -> None:
        self.seen.append((request, activation, list(self.heard.begun)))
        raise LookupError("in the observer")


async def test_an_observer_is_told_before_the_answer_leaves_and_its_failure_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watcher, request = Watcher(), a_request(HELLO)
    async with a_line(FakeRuntime(), HELLO, observers=[watcher]) as line:
        heard = await line.invoke(request, watcher.heard)

    ((seen, activation, before),) = watcher.seen
    assert seen.activation_id == request.activation_id
    assert activation == heard.activation
    assert before == ["accepted"]
    assert "in the observer" in caplog.text


@pytest.mark.parametrize("stored", [True, False])
async def test_the_storage_rule_decides_what_is_recorded(stored: bool) -> None:  # noqa: FBT001
    """Spec 8.5, T70."""
    caller = a_caller(limits=CallerLimits(store_activations=stored))
    async with a_line(FakeRuntime(), HELLO) as line:
        await line.invoke(a_request(HELLO, caller=caller))

        assert bool(line.records) is stored


async def test_failures_alone_are_recorded_when_the_level_says_so_unless_logging_is_extra() -> None:
    settings = RecordingSettings(store_blocking="failures")
    async with a_line(FakeRuntime(), HELLO, recording=settings) as line:
        await line.invoke(a_request(HELLO))
        await line.invoke(a_request(HELLO, transaction=a_transaction(extra_logging=True)))
        await line.invoke(a_request(a_ref(name="gone", path="guest", revision="1-a")))

        assert [one.name for one in line.records] == ["hello", "gone"]


# --- answers that take time ---------------------------------------------------------------------------------------


async def test_a_slow_answer_holds_no_container() -> None:
    runtime = FakeRuntime()
    slow = Heard()
    slow.gates["completed"].clear()
    async with a_line(runtime, HELLO) as line:
        line.begin(a_request(HELLO), slow)
        await until(lambda: "completed" in slow.begun)
        other = await line.invoke(a_request(HELLO))
        slow.gates["completed"].set()
        await slow.ended.wait()

        assert len(runtime.created) == 1
    assert slow.words == other.words == ["accepted", "combined"]


async def without_sentinels(container: FakeContainer, path: str, body: bytes) -> Reply:
    return reply(b'{"ok":true}')


async def test_a_slow_early_result_holds_no_container_and_is_never_overtaken_by_its_completion() -> None:
    runtime = FakeRuntime(without_sentinels)
    heard = Heard(splits=True)
    heard.gates["result"].clear()
    async with a_line(runtime, HELLO) as line:
        line.begin(a_request(HELLO), heard)
        await until(lambda: bool(line.records))  # its logs were given up meanwhile: the lease is over
        before = list(heard.begun)
        heard.gates["result"].set()
        await heard.ended.wait()

    assert before == ["accepted", "result"]
    assert heard.words == ["accepted", "result", "completion"]


async def test_an_answer_on_its_way_occupies_the_intake() -> None:
    slow = Heard()
    slow.gates["completed"].clear()
    async with a_line(FakeRuntime(), HELLO) as line:
        line.begin(a_request(HELLO), slow)
        await until(lambda: "completed" in slow.begun)
        during = line.admission.waiting_bytes
        slow.gates["completed"].set()
        await until(lambda: line.admission.running == 0)

        assert (during, line.admission.waiting_bytes) == (len(b"{}"), 0)


@pytest.mark.parametrize("step", ["result", "completed"])
async def test_an_answer_that_no_transport_takes_in_time_is_given_up_and_not_the_one_after_it(
    step: str, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = Heard(splits=True)
    stuck.gates[step].clear()
    runtime = FakeRuntime(without_sentinels)
    async with a_line(runtime, HELLO, intake=IntakeSettings(answer_timeout=Seconds(0.01))) as line:
        line.begin(a_request(HELLO), stuck)
        await until(lambda: line.admission.running == 0)

        assert (line.delivery.undelivered, line.admission.waiting_bytes, len(line.records)) == (1, 0, 1)
        later = await line.invoke(a_request(HELLO))  # and the clock goes on for others
    assert stuck.cancelled == [step]
    assert stuck.words == (["accepted", "completion"] if step == "result" else ["accepted", "result"])
    assert later.words[-1] == "combined"
    assert "its transport did not take" in caplog.text


@simulated
async def test_each_answer_has_a_time_of_its_own() -> None:
    first, second = Heard(), Heard()
    for heard in (first, second):
        heard.gates["completed"].clear()
    async with a_line(FakeRuntime(), HELLO, intake=IntakeSettings(answer_timeout=Seconds(10))) as line:
        line.begin(a_request(HELLO), first)
        await asyncio.sleep(6)
        line.begin(a_request(HELLO), second)
        await asyncio.sleep(6)
        second.gates["completed"].set()
        await second.ended.wait()

    assert first.cancelled == ["completed"]
    assert second.words == ["accepted", "combined"]


async def test_a_caller_that_is_gone_is_counted() -> None:
    async with a_line(FakeRuntime(), HELLO) as line:
        await line.invoke(a_request(HELLO), Heard(broken=True))

        assert line.delivery.undelivered == 1


# --- broken off ---------------------------------------------------------------------------------------------------


async def test_broken_off_in_the_middle_it_is_recorded_and_answered_as_a_system_error() -> None:
    runtime = FakeRuntime(forever)
    async with a_line(runtime, HELLO) as line:
        heard = await in_its_run(line, runtime)
        line.invoker.break_off()
        await line.invoker.drain()
        await heard.ended.wait()

        assert heard.words == ["accepted", "combined"]
        assert heard.activation.is_system_error
        assert [one.activation_id for one in line.records] == [heard.activation.activation_id]
        assert line.invoker.broken_off == 1
        await until(lambda: runtime.created[0].removed)


async def test_broken_off_while_it_waits_for_a_container_it_gives_its_room_back() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    async with a_line(runtime, HELLO) as line:
        heard = line.begin(a_request(HELLO))
        await until(lambda: runtime.attempts == 1)
        line.invoker.break_off()
        await until(lambda: line.admission.running == 0)

        assert heard.words == ["accepted", "combined"]
        assert line.admission.waiting_bytes == 0


async def test_broken_off_before_its_first_step_it_is_answered_all_the_same() -> None:
    """A task that is cancelled before its first step runs nothing, not even what is to be run at its end."""
    runtime = FakeRuntime()
    async with a_line(runtime, HELLO) as line:
        heard = line.begin(a_request(HELLO))
        line.invoker.break_off()
        late = line.begin(a_request(HELLO))
        await until(lambda: line.admission.running == 0)

        assert heard.words == late.words == ["accepted", "combined"]
        assert heard.activation.is_system_error
        assert (line.admission.waiting_bytes, len(line.records), runtime.created) == (0, 2, [])


async def test_what_is_being_answered_is_not_broken_off() -> None:
    """20 answers in flight, each of which takes its time: 20 acknowledgements."""
    slow = [Heard() for _ in range(20)]
    async with a_line(FakeRuntime(), HELLO) as line:
        for each in slow:
            each.gates["completed"].clear()
            line.begin(a_request(HELLO), each)
        await until(lambda: all("completed" in each.begun for each in slow))
        line.invoker.break_off()
        await line.invoker.drain()
        for each in slow:
            each.gates["completed"].set()
        await line.invoker.close(60)

        assert [each.words for each in slow] == [["accepted", "combined"]] * 20
        assert not any(each.activation.is_system_error for each in slow)
        assert (len(line.records), line.invoker.broken_off, line.delivery.undelivered) == (20, 0, 0)


async def test_an_answer_may_use_time_limits_after_a_break_off() -> None:
    """What is cancelled must not look cancelled any more to whoever asks on the way of the answer."""
    cancelling: list[int] = []

    class Asking(Heard):
        async def completed(self, activation: Activation, ack: Ack) -> None:
            task = asyncio.current_task()
            assert task is not None
            cancelling.append(task.cancelling())
            await super().completed(activation, ack)

    runtime = FakeRuntime(forever)
    async with a_line(runtime, HELLO) as line:
        heard = await in_its_run(line, runtime, Asking())
        line.invoker.break_off()
        await heard.ended.wait()

    assert cancelling == [0]


async def test_a_bug_of_ours_is_a_system_error_too(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(container: FakeContainer, path: str, body: bytes) -> Reply:
        raise ZeroDivisionError

    async with a_line(FakeRuntime(broken), HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.words == ["accepted", "combined"]
        assert heard.activation.is_system_error
        assert len(line.records) == 1
    assert "ZeroDivisionError" in caplog.text


# --- draining ----------------------------------------------------------------------------------------------------


async def test_draining_takes_nothing_new_and_waits_for_what_runs() -> None:
    runtime = FakeRuntime(forever)
    async with a_line(runtime, HELLO) as line:
        heard = await in_its_run(line, runtime)
        draining = asyncio.create_task(line.invoker.drain())
        await until(lambda: line.admission.life is Life.DRAINING)

        with pytest.raises(Draining):
            line.invoker.admit(message(a_request(HELLO)), via="test")
        with pytest.raises(Draining):
            await line.invoker.room(1)
        waits = not draining.done()
        line.invoker.break_off()
        await draining
        await line.invoker.close(60)

        assert waits
        assert line.admission.life is Life.CLOSED
    assert heard.words == ["accepted", "combined"]


async def test_stopping_gives_up_answers_that_come_after_those_it_gave_up() -> None:
    stuck = Heard(splits=True)
    stuck.gates["result"].clear()
    stuck.gates["completed"].clear()
    async with a_line(FakeRuntime(without_sentinels), HELLO) as line:
        line.begin(a_request(HELLO), stuck)
        await line.invoker.drain()
        await line.invoker.close(0.001)

        assert (line.admission.running, line.delivery.undelivered, len(line.records)) == (0, 2, 1)
    assert stuck.cancelled == ["result", "completed"]


async def test_stopping_waits_for_answers_no_longer_than_it_is_told_to() -> None:
    stuck = Heard()
    stuck.gates["completed"].clear()
    async with a_line(FakeRuntime(), HELLO) as line:
        line.begin(a_request(HELLO), stuck)
        await line.invoker.drain()
        await line.invoker.close(0.001)

        assert (line.admission.running, line.delivery.undelivered, len(line.records)) == (0, 1, 1)
    assert stuck.cancelled == ["completed"]
