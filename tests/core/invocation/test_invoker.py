"""The straight line: whatever happens, one slot-freeing answer, and a record before it (spec 2.4)."""

import asyncio
from typing import Any

import msgspec
import pytest

from invoker.config import ByteSize, IntakeSettings, RecordingSettings, Secret
from invoker.contracts import Admission
from invoker.entities.activation import Activation, Status
from invoker.entities.container import Reply, Stream
from invoker.entities.function import Limits
from invoker.entities.request import CallerLimits
from invoker.errors import Busy, MalformedRequest, StartFailed, Unreachable
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.admission import BlockedNamespaces
from invoker.testing.builders import a_caller, a_function, a_ref, a_request, a_transaction
from invoker.testing.containers import FakeContainer, FakeRuntime, answering, reply
from invoker.wire.request import message
from tests.core.invocation.line import Heard, a_line, result, until

HELLO = a_function(name="hello", revision="1-a")


async def test_a_cold_invocation_initialises_runs_records_and_answers() -> None:
    runtime = FakeRuntime(answering(b'{"greeting":"hi"}', output=b"hello\n"))
    async with a_line(runtime, HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.words == ["accepted", "combined"]
        assert (heard.activation.outcome.status, result(heard.activation)) == (Status.SUCCESS, {"greeting": "hi"})
        assert heard.activation.init_time is not None
        assert [path for path, _ in runtime.created[0].requests] == ["/init", "/run"]
        assert [one.activation_id for one in line.records] == [heard.activation.activation_id]
        assert line.records[0].logs[0].endswith(" stdout: hello")


async def test_a_warm_invocation_only_runs() -> None:
    runtime = FakeRuntime()
    async with a_line(runtime, HELLO) as line:
        await line.invoke(a_request(HELLO))
        heard = await line.invoke(a_request(HELLO))

        assert heard.activation.init_time is None
        assert [path for path, _ in runtime.created[0].requests] == ["/init", "/run", "/run"]


async def test_the_function_sees_its_arguments_and_init_parameters_go_to_its_environment() -> None:
    """Spec 7.2.2, 9.2.2, 9.3.5."""
    runtime = FakeRuntime()
    request = a_request(HELLO, content=msgspec.Raw(b'{"a":1,"LEVEL":"debug"}'), init_names=("LEVEL",))
    async with a_line(runtime, HELLO) as line:
        await line.invoke(request)

    (_, init), (_, run) = runtime.created[0].requests
    assert msgspec.json.decode(init)["value"]["env"]["LEVEL"] == "debug"
    assert msgspec.json.decode(run)["value"] == {"a": 1}


async def test_a_locked_parameter_is_opened_on_the_way() -> None:
    """Spec 7.3."""
    runtime = FakeRuntime()
    sealed = "AAAADKChoqOkpaanqKmqq4j1C9gMukcowHjEnSdg2IFslRJB4lQyFQ=="
    request = a_request(HELLO, content=msgspec.Raw(b'{"token":"%b"}' % sealed.encode()), locked={"token": "aes-128"})
    async with a_line(runtime, HELLO, keys={"aes-128": Secret("AAECAwQFBgcICQoLDA0ODw==")}) as line:
        await line.invoke(request)

    assert msgspec.json.decode(runtime.created[0].requests[1][1])["value"] == {"token": "s3cr3t"}


async def test_a_parameter_that_cannot_be_opened_is_a_developer_error_without_a_container() -> None:
    runtime = FakeRuntime()
    request = a_request(HELLO, content=msgspec.Raw(b'{"token":"AAAA"}'), locked={"token": "aes-128"})
    async with a_line(runtime, HELLO) as line:
        heard = await line.invoke(request)

        assert heard.words == ["accepted", "combined"]
        assert heard.activation.outcome.status is Status.DEVELOPER_ERROR
        assert result(heard.activation) == {"error": "Parameter token could not be decrypted."}
        assert (runtime.created, len(line.records)) == ([], 1)


@pytest.mark.parametrize(("blocking", "ack"), [(True, "combined"), (False, "shrunk")])
async def test_a_function_that_is_gone_is_an_application_error(blocking: bool, ack: str) -> None:  # noqa: FBT001
    """Spec 6.7.3, 8.2.1, T33."""
    async with a_line(FakeRuntime()) as line:
        heard = await line.invoke(a_request(HELLO, blocking=blocking))

        assert heard.words == ["accepted", ack]
        assert heard.activation.outcome.status is Status.APPLICATION_ERROR
        assert (heard.activation.kind, heard.activation.limits, heard.activation.wait_time) == ("unknown", None, None)
        assert len(line.records) == 1


async def test_a_broken_limit_is_an_application_error() -> None:
    """Spec 6.6.3."""
    large = a_function(limits=Limits(memory=1024), revision="1-a")
    async with a_line(FakeRuntime(), large) as line:
        heard = await line.invoke(a_request(large))

        assert heard.activation.outcome.status is Status.APPLICATION_ERROR
        assert result(heard.activation) == {
            "error": "requirement failed: memory size 1024 MB exceeds allowed threshold of 512 MB"
        }
        assert heard.activation.limits == Limits(memory=1024)


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_blocked_namespace_gets_a_shrunk_answer_and_no_record(blocking: bool) -> None:  # noqa: FBT001
    """Spec 2.4, 8.5.5, T72."""
    judge: Admission = BlockedNamespaces("bad")
    async with a_line(FakeRuntime(), HELLO, admissions=[judge]) as line:
        heard = await line.invoke(a_request(HELLO, caller=a_caller(namespace="bad"), blocking=blocking))

        assert heard.words == ["accepted", "shrunk"]
        assert heard.activation.outcome.status is Status.APPLICATION_ERROR
        assert line.records == []


async def test_a_container_that_cannot_be_started_is_a_system_error() -> None:
    runtime = FakeRuntime()
    runtime.failure = StartFailed("no room on this machine")
    async with a_line(runtime, HELLO) as line:
        heard = await line.invoke(a_request(HELLO, blocking=False))

        assert heard.words == ["accepted", "shrunk"]
        assert heard.activation.is_system_error


async def test_a_developer_error_costs_the_container_and_an_application_error_does_not() -> None:
    """Spec 9.7.4, 10.11."""
    runtime = FakeRuntime(answering(b'{"error":"no"}'))
    async with a_line(runtime, HELLO) as line:
        first = await line.invoke(a_request(HELLO))
        runtime.created[0].script = answering(b"nonsense")
        second = await line.invoke(a_request(HELLO))
        third = await line.invoke(a_request(HELLO))

        statuses = [heard.activation.outcome.status for heard in (first, second, third)]
        assert statuses == [Status.APPLICATION_ERROR, Status.DEVELOPER_ERROR, Status.APPLICATION_ERROR]
        assert [heard.activation.init_time is None for heard in (first, second, third)] == [False, True, False]
        assert len(runtime.created) == 2


async def failing_init(container: FakeContainer, path: str, body: bytes) -> Reply:
    return reply(b'{"error":"bad code"}', 502)


async def test_a_failed_init_never_runs() -> None:
    runtime = FakeRuntime(failing_init)
    async with a_line(runtime, HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

    assert result(heard.activation) == {"error": "bad code"}
    assert [path for path, _ in runtime.created[0].requests] == ["/init"]
    assert runtime.created[0].removed


async def forever(container: FakeContainer, path: str, body: bytes) -> Reply:
    if path == "/run":
        await asyncio.Event().wait()
    return reply(b"{}")


async def test_a_function_that_takes_too_long_is_a_developer_error_and_loses_its_container() -> None:
    slow = a_function(limits=Limits(timeout=100), revision="1-a")
    runtime = FakeRuntime(forever)
    async with a_line(runtime, slow) as line:
        heard = await line.invoke(a_request(slow))

        assert result(heard.activation) == {"error": "The action exceeded its time limits of 100 milliseconds."}
        assert heard.activation.timed_out
    assert runtime.created[0].removed


async def test_memory_exhausted_says_so_with_limit_and_peak_in_log_and_notes() -> None:
    async def exhausted(container: FakeContainer, path: str, body: bytes) -> Reply:
        if path == "/run":
            container.say(b"working\n")
            container.die(exit_code=-9, memory_exhausted=True, peak_memory=300 << 20)
        return reply(b"{}")

    async with a_line(FakeRuntime(exhausted), HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        record = line.records[0]
        assert result(heard.activation) == {"error": "The action exhausted its memory and was aborted."}
        assert record.notes == (("coldStart", "new"), ("peakMemory", 300 << 20))
        assert record.logs[0].endswith(" stdout: working")
        assert record.logs[-1].endswith(
            " stderr: The memory limit is 256 MB; the action was stopped after using 300 MB."
        )


async def test_a_container_that_does_not_take_the_call_hands_it_to_another() -> None:
    """Spec 9.8, T53: a warm one that is gone, or answers 503."""
    runtime = FakeRuntime()
    async with a_line(runtime, HELLO) as line:
        await line.invoke(a_request(HELLO))
        runtime.created[0].script = answering(status=503)
        heard = await line.invoke(a_request(HELLO))

        assert heard.words == ["accepted", "combined"]
        assert heard.activation.outcome.status is Status.SUCCESS
        assert heard.activation.init_time is not None
        assert len(runtime.created) == 2


async def test_an_activation_that_no_container_takes_is_a_system_error_after_three_moves() -> None:
    """Spec 9.8.4: upstream goes on for ever."""

    async def unwilling(container: FakeContainer, path: str, body: bytes) -> Reply:
        raise Unreachable("refused")

    runtime = FakeRuntime(unwilling)
    async with a_line(runtime, HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.words == ["accepted", "combined"]
        assert heard.activation.is_system_error
        assert len(runtime.created) == 4


class Silent:
    """A script whose sentinels come when the test says so."""

    def __init__(self) -> None:
        self.container: FakeContainer | None = None

    async def __call__(self, container: FakeContainer, path: str, body: bytes) -> Reply:
        if path == "/run":
            self.container = container
        return reply(b'{"ok":1}')

    def finish(self) -> None:
        assert self.container is not None
        self.container.say(b"late\n")
        self.container.say(SENTINEL_LINE)
        self.container.say(SENTINEL_LINE, Stream.STDERR)


async def test_a_result_whose_logs_are_late_goes_ahead_where_the_transport_can_split() -> None:
    """Spec 2.4: result without logs, then completion; the record has the logs (2.4.3)."""
    script = Silent()
    heard = Heard(splits=True)
    async with a_line(FakeRuntime(script), HELLO) as line:
        invocation = asyncio.create_task(line.invoke(a_request(HELLO), heard))
        await until(lambda: "result" in heard.words)
        before = list(heard.words)
        script.finish()
        await invocation

        assert before == ["accepted", "result"]
        assert heard.words == ["accepted", "result", "completion"]
        assert heard.said[1][1] is not None
        assert heard.said[1][1].logs == ()
        assert [line.endswith("stdout: late") for line in line.records[0].logs] == [True]


@pytest.mark.parametrize(("blocking", "ack"), [(True, "combined"), (False, "completion")])
async def test_a_transport_with_one_answer_waits_for_the_logs(blocking: bool, ack: str) -> None:  # noqa: FBT001
    script = Silent()
    heard = Heard()
    async with a_line(FakeRuntime(script), HELLO) as line:
        invocation = asyncio.create_task(line.invoke(a_request(HELLO, blocking=blocking), heard))
        await until(lambda: script.container is not None)
        script.finish()
        await invocation

    assert heard.words == ["accepted", ack]


async def test_a_forged_sentinel_ends_the_logs_and_the_container() -> None:
    """T59."""
    runtime = FakeRuntime(answering(output=b"mine\n" + SENTINEL_LINE + b"not mine\n"))
    async with a_line(runtime, HELLO) as line:
        await line.invoke(a_request(HELLO))

        assert [entry.split(": ")[1] for entry in line.records[0].logs] == ["mine"]
    assert runtime.created[0].removed


async def test_a_caller_that_is_gone_loses_nothing() -> None:
    async with a_line(FakeRuntime(), HELLO) as line:
        heard = await line.invoke(a_request(HELLO), Heard(broken=True))

        assert heard.words == ["accepted", "combined"]
        assert len(line.records) == 1


async def test_cancelled_in_the_middle_it_is_recorded_and_answered_as_a_system_error() -> None:
    runtime = FakeRuntime(forever)
    heard = Heard()
    async with a_line(runtime, HELLO) as line:
        invocation = asyncio.create_task(line.invoke(a_request(HELLO), heard))
        await until(lambda: bool(runtime.created) and len(runtime.created[0].requests) == 2)
        invocation.cancel()

        with pytest.raises(asyncio.CancelledError):
            await invocation
        assert heard.words == ["accepted", "combined"]
        assert heard.activation.is_system_error
        assert len(line.records) == 1
        assert line.door.inside == 0
    assert runtime.created[0].removed


async def test_broken_off_by_the_invoker_itself_nobody_sees_a_cancellation() -> None:
    runtime = FakeRuntime(forever)
    heard = Heard()
    async with a_line(runtime, HELLO) as line:
        invocation = asyncio.create_task(line.invoke(a_request(HELLO), heard))
        await until(lambda: bool(runtime.created) and len(runtime.created[0].requests) == 2)
        line.invoker.break_off()
        await invocation

        assert heard.activation.is_system_error
        assert line.invoker.broken_off == 1


async def test_cancelled_while_it_waits_for_memory_it_is_answered_too() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    heard = Heard()
    async with a_line(runtime, HELLO) as line:
        invocation = asyncio.create_task(line.invoke(a_request(HELLO), heard))
        await until(lambda: heard.words == ["accepted"])
        invocation.cancel()

        with pytest.raises(asyncio.CancelledError):
            await invocation
        assert heard.words == ["accepted", "combined"]
        assert (line.door.waiting_bytes, line.door.inside) == (0, 0)


async def test_a_bug_of_ours_is_a_system_error_too(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(container: FakeContainer, path: str, body: bytes) -> Reply:
        raise ZeroDivisionError

    async with a_line(FakeRuntime(broken), HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.words == ["accepted", "combined"]
        assert heard.activation.is_system_error
        assert len(line.records) == 1
    assert "ZeroDivisionError" in caplog.text


async def test_an_observer_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Activation] = []

    def observe(activation: Activation) -> None:
        seen.append(activation)
        raise LookupError("in the observer")

    async with a_line(FakeRuntime(), HELLO, observers=observe) as line:
        heard = await line.invoke(a_request(HELLO))

    assert seen == [heard.activation]
    assert "in the observer" in caplog.text


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({}, True),
        ({"caller": a_caller(limits=CallerLimits(store_activations=False))}, False),
    ],
)
async def test_the_storage_rule_decides_what_is_recorded(changes: dict[str, Any], stored: bool) -> None:  # noqa: FBT001
    """Spec 8.5, T70."""
    async with a_line(FakeRuntime(), HELLO) as line:
        await line.invoke(a_request(HELLO, **changes))

        assert bool(line.records) is stored


async def test_failures_alone_are_recorded_when_the_level_says_so_unless_logging_is_extra() -> None:
    settings = RecordingSettings(store_blocking="failures")
    async with a_line(FakeRuntime(), HELLO, recording=settings) as line:
        await line.invoke(a_request(HELLO))
        await line.invoke(a_request(HELLO, transaction=a_transaction(extra_logging=True)))
        await line.invoke(a_request(a_ref(name="gone", path="guest", revision="1-a")))

        assert [one.name for one in line.records] == ["hello", "gone"]


async def test_the_door_is_closed_while_records_fill_the_memory() -> None:
    settings = RecordingSettings(max_bytes=ByteSize(600))
    async with a_line(FakeRuntime(), HELLO, recording=settings) as line:
        await line.invoke(a_request(HELLO))
        await line.invoke(a_request(HELLO))

        with pytest.raises(Busy, match="records"):
            line.invoker.admit(message(a_request(HELLO)), via="test")


async def test_the_door_is_closed_while_too_much_waits() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    waiting = a_request(HELLO, content=msgspec.Raw(b'{"x":"%b"}' % (b"x" * 600)))
    async with a_line(runtime, HELLO, intake=IntakeSettings(queue_bytes=ByteSize(1500))) as line:
        invocation = asyncio.create_task(line.invoke(waiting))
        await until(lambda: line.door.waiting_bytes > 0)

        with pytest.raises(Busy) as refusal:
            line.invoker.admit(message(waiting), via="test")
        runtime.gate.set()
        await invocation

        assert refusal.value.retry_after == 1
        line.invoker.admit(message(waiting), via="test")


async def test_a_message_that_is_too_large_or_garbage_is_refused_at_the_door() -> None:
    async with a_line(FakeRuntime(), HELLO) as line:
        with pytest.raises(MalformedRequest, match="1054645 bytes; 1054644 are allowed"):
            line.invoker.admit(b"x" * 1_054_645, via="test")
        with pytest.raises(MalformedRequest):
            line.invoker.admit(b"garbage", via="test")

        assert (line.door.refused_malformed, line.door.inside) == (2, 0)
