"""Inside the container: functions that fail, and what that costs it (spec 9.5, 9.7)."""

import asyncio

import pytest

from invoker.config import ByteSize, LimitsSettings, LogsSettings, Seconds
from invoker.entities.activation import Status
from invoker.entities.container import ContainerState, Reply, Stream
from invoker.entities.function import Limits
from invoker.errors import Lost, PostTimedOut, StartFailed
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_function, a_request
from invoker.testing.containers import FakeContainer, FakeRuntime, answering, reply
from invoker.wire.messages import messages
from tests.core.invocation.line import HELLO, a_line, forever, result, until


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


async def test_the_logs_of_a_failure_that_was_answered_are_waited_for() -> None:
    """By then nodejs, actionloop and dockerskeleton print their sentinels; under load they come late."""

    async def fails(container: FakeContainer, path: str, body: bytes) -> Reply:
        def say_why() -> None:
            container.say(b"why\n" + SENTINEL_LINE)
            container.say(SENTINEL_LINE, Stream.STDERR)

        if path == "/run":
            asyncio.get_running_loop().call_later(0.2, say_why)
        return reply(b"nonsense" if path == "/run" else b"{}")

    async with a_line(FakeRuntime(fails), HELLO) as line:
        await line.invoke(a_request(HELLO))

        logs = [one.partition(": ")[2] for one in line.records[0].logs]
        assert logs == ["why", messages("openwhisk").log_warning]


async def test_a_container_whose_logs_never_end_is_replaced_with_its_second_activation() -> None:
    async def silent(container: FakeContainer, path: str, body: bytes) -> Reply:
        return reply(b"{}")

    runtime = FakeRuntime(silent)
    async with a_line(runtime, HELLO, waits=LogsSettings(timeout=Seconds(0.01))) as line:
        ends = [(await line.invoke(a_request(HELLO))).activation for _ in range(3)]

        assert [one.outcome.status for one in ends] == [Status.SUCCESS] * 3
        assert [dict(one.notes).get("coldStart") for one in ends] == ["new", None, "late logs"]
        assert len(runtime.created) == 2


async def failing_init(container: FakeContainer, path: str, body: bytes) -> Reply:
    return reply(b'{"error":"bad code"}', 502)


async def test_a_failed_init_never_runs() -> None:
    runtime = FakeRuntime(failing_init)
    async with a_line(runtime, HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        assert result(heard.activation) == {"error": "bad code"}
        assert [path for path, _ in runtime.created[0].requests] == ["/init"]
        await until(lambda: runtime.created[0].removed)


async def test_a_function_that_takes_too_long_is_a_developer_error_and_loses_its_container() -> None:
    slow = a_function(limits=Limits(timeout=100), revision="1-a")
    runtime = FakeRuntime(forever)
    async with a_line(runtime, slow) as line:
        heard = await line.invoke(a_request(slow))

        assert result(heard.activation) == {"error": "The action exceeded its time limits of 100 milliseconds."}
        assert heard.activation.timed_out
        await until(lambda: runtime.created[0].removed)


async def test_an_image_without_a_proxy_is_told_to_its_developer() -> None:
    async def deaf(container: FakeContainer, path: str, body: bytes) -> Reply:
        raise PostTimedOut(60, deaf=8080)

    runtime = FakeRuntime(deaf)
    async with a_line(runtime, HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.activation.timed_out
        assert (
            line.records[0]
            .logs[-1]
            .endswith(" stderr: Nothing listened on port 8080 of the container: it runs no action proxy.")
        )
        await until(lambda: runtime.created[0].removed)


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


async def test_a_forged_sentinel_ends_the_logs_and_the_container() -> None:
    """T59."""
    runtime = FakeRuntime(answering(output=b"mine\n" + SENTINEL_LINE + b"not mine\n"))
    async with a_line(runtime, HELLO) as line:
        await line.invoke(a_request(HELLO))

        assert [entry.split(": ")[1] for entry in line.records[0].logs] == ["mine"]
        await until(lambda: runtime.created[0].removed)


@pytest.mark.parametrize(("path", "when"), [("/init", " during initialization"), ("/run", "")])
@pytest.mark.parametrize("lost", [True, False])
async def test_what_takes_as_long_as_the_limit_is_a_time_out_whatever_came_of_it(
    path: str, when: str, *, lost: bool
) -> None:
    """Spec 9.5.6, T48: the limit itself is too long, but for an `/init` that succeeds."""
    clock = [0.0]

    async def just_too_long(container: FakeContainer, asked: str, body: bytes) -> Reply:
        if asked != path:
            return reply(b"{}")
        clock[0] += 1.0
        if lost:
            raise Lost(ContainerState(running=False, exit_code=1), at=clock[0])
        return reply(b'{"error":"late"}', 502)

    function = a_function(limits=Limits(timeout=1000), revision="1-a")
    async with a_line(FakeRuntime(just_too_long), function, monotonic=lambda: int(clock[0] * 1e9)) as line:
        heard = await line.invoke(a_request(function))

    error = f"The action exceeded its time limits of 1000 milliseconds{when}."
    assert result(heard.activation) == {"error": error}
    assert heard.activation.timed_out
    assert heard.activation.duration == 1000


async def test_an_init_that_succeeds_counts_however_late_it_comes() -> None:
    """Spec T48."""
    clock = [0.0]

    async def late(container: FakeContainer, path: str, body: bytes) -> Reply:
        clock[0] += 2.0 if path == "/init" else 0.0
        return await answering()(container, path, body)

    function = a_function(limits=Limits(timeout=1000), revision="1-a")
    async with a_line(FakeRuntime(late), function, monotonic=lambda: int(clock[0] * 1e9)) as line:
        heard = await line.invoke(a_request(function))

    assert heard.activation.outcome.status is Status.SUCCESS
    assert heard.activation.init_time == 2000


async def test_what_a_failing_function_says_last_is_waited_for() -> None:
    """Engines pass output on late: why it failed, as a rule."""

    async def failing(container: FakeContainer, path: str, body: bytes) -> Reply:
        if path == "/run":
            asyncio.get_running_loop().call_later(0.02, container.say, b"because\n", Stream.STDERR)
        return reply(b'{"error":"it broke"}', 200 if path == "/init" else 502)

    async with a_line(FakeRuntime(failing), HELLO) as line:
        await line.invoke(a_request(HELLO))

        assert line.records[0].logs[0].endswith(" stderr: because")


async def test_a_container_that_did_not_take_the_call_leaves_no_trace_in_the_record() -> None:
    runtime = FakeRuntime()
    async with a_line(runtime, HELLO) as line:
        await line.invoke(a_request(HELLO))
        runtime.failure = StartFailed("and there is no other")
        runtime.created[0].script = answering(status=503)
        heard = await line.invoke(a_request(HELLO))

    assert heard.activation.is_system_error
    assert (heard.activation.init_time, heard.activation.duration) == (None, 0)


@pytest.mark.parametrize("last", ["/init", "/run"])
async def test_a_fresh_container_that_answers_503_may_have_acted_so_that_nothing_runs_twice(last: str) -> None:
    calls = []

    async def acts_and_refuses(container: FakeContainer, path: str, body: bytes) -> Reply:
        calls.append(path)
        return reply(b"{}", 503 if path == last else 200)

    runtime = FakeRuntime(acts_and_refuses)
    async with a_line(runtime, HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

    assert heard.activation.outcome.status is Status.DEVELOPER_ERROR
    assert calls == ["/init", "/run"][: 1 + (last == "/run")]


@pytest.mark.parametrize(("status", "kept"), [(200, True), (400, False)])
async def test_a_reply_that_is_too_long_costs_the_container_unless_its_status_is_200(status: int, kept: bool) -> None:  # noqa: FBT001
    """The official Node.js runtime has given up by then."""
    long = b'{"text":"' + b"x" * 100 + b'"}'

    async def talkative(container: FakeContainer, path: str, body: bytes) -> Reply:
        if path == "/init":
            return reply(b"{}")
        for stream in Stream:
            container.say(SENTINEL_LINE, stream)
        return Reply(status, long, len(long))

    runtime = FakeRuntime(talkative)
    async with a_line(runtime, HELLO, limits=LimitsSettings(payload=ByteSize(50), truncation=ByteSize(20))) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.activation.outcome.status is Status.APPLICATION_ERROR
        assert f"The truncated response was: {long[:20].decode()}" in heard.activation.outcome.error
        await line.invoke(a_request(HELLO))
        assert len(runtime.created) == (1 if kept else 2)


@pytest.mark.parametrize(
    ("exit_code", "remark", "told"),
    [
        (3, "", ["The container exited with status 3."]),
        (0, "", ["The container exited with status 0."]),
        (-11, "", ["The container was killed by signal SIGSEGV."]),
        (-35, "", ["The container was killed by signal 35."]),
        (-9, "The limit is 8.", ["The limit is 8."]),
        (None, "", []),
    ],
)
@pytest.mark.parametrize("path", ["/init", "/run"])
async def test_how_a_container_ended_is_told_to_its_developer(
    path: str, exit_code: int | None, remark: str, told: list[str]
) -> None:
    async def bomb(container: FakeContainer, asked: str, body: bytes) -> Reply:
        if asked == path:
            raise Lost(ContainerState(running=False, exit_code=exit_code, remark=remark))
        return reply(b"{}")

    async with a_line(FakeRuntime(bomb), HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.activation.outcome.status is Status.DEVELOPER_ERROR
        _warning, *ours = line.records[0].logs
        assert [entry.partition(" stderr: ")[2] for entry in ours] == told
