"""Inside the container: functions that fail, and what that costs it (spec 9.5, 9.7)."""

from invoker.entities.activation import Status
from invoker.entities.container import Reply
from invoker.entities.function import Limits
from invoker.errors import PostTimedOut
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_function, a_request
from invoker.testing.containers import FakeContainer, FakeRuntime, answering, reply
from tests.core.invocation.line import HELLO, a_line, forever, result


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


async def test_a_function_that_takes_too_long_is_a_developer_error_and_loses_its_container() -> None:
    slow = a_function(limits=Limits(timeout=100), revision="1-a")
    runtime = FakeRuntime(forever)
    async with a_line(runtime, slow) as line:
        heard = await line.invoke(a_request(slow))

        assert result(heard.activation) == {"error": "The action exceeded its time limits of 100 milliseconds."}
        assert heard.activation.timed_out
    assert runtime.created[0].removed


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


async def test_a_forged_sentinel_ends_the_logs_and_the_container() -> None:
    """T59."""
    runtime = FakeRuntime(answering(output=b"mine\n" + SENTINEL_LINE + b"not mine\n"))
    async with a_line(runtime, HELLO) as line:
        await line.invoke(a_request(HELLO))

        assert [entry.split(": ")[1] for entry in line.records[0].logs] == ["mine"]
    assert runtime.created[0].removed
