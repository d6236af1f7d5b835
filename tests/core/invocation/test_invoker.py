"""The straight line: whatever happens, one slot-freeing answer, and a record before it (spec 2.4)."""

import msgspec
import pytest

from invoker.config import Secret
from invoker.contracts import Admission
from invoker.entities.activation import Status
from invoker.entities.container import Reply
from invoker.entities.function import Limits
from invoker.errors import StartFailed, Unreachable
from invoker.testing.admission import BlockedNamespaces
from invoker.testing.builders import a_caller, a_function, a_request
from invoker.testing.containers import FakeContainer, FakeRuntime, answering
from tests.core.invocation.line import HELLO, a_line, result
from tests.specification import KEY_128, SEALED_128


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
    request = a_request(
        HELLO, content=msgspec.Raw(b'{"token":"%b"}' % SEALED_128.encode()), locked={"token": "aes-128"}
    )
    async with a_line(runtime, HELLO, keys={"aes-128": Secret(KEY_128)}) as line:
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
    async with a_line(FakeRuntime(), HELLO, judges=[judge]) as line:
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
