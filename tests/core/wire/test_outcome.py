"""What the caller sees of what happened: spec 9.6, 9.7, 9.9, 9.10 and 11."""

from typing import Any

import msgspec
import pytest

from invoker.entities.activation import Outcome, Status
from invoker.entities.container import ContainerState, Reply
from invoker.entities.function import Limits
from invoker.errors import (
    FunctionNotFound,
    FunctionUnreadable,
    InvokerError,
    StartFailed,
    StoreUnavailable,
    Undecryptable,
)
from invoker.wire.outcome import Outcomes

ALLOWED = 1 << 20
OPENWHISK = Outcomes("openwhisk")
FUNCTIONS = Outcomes("functions")


def reply(body: bytes, status: int = 200, length: int | None = None) -> Reply:
    return Reply(status, body, len(body) if length is None else length)


def result(outcome: Outcome) -> Any:
    return msgspec.json.decode(outcome.response)


def test_an_object_is_success_and_is_passed_on_as_it_came() -> None:
    outcome = OPENWHISK.ran(reply(b'{ "a" :1}'), ALLOWED)

    assert (outcome.status, bytes(outcome.response), outcome.size) == (Status.SUCCESS, b'{ "a" :1}', 9)


@pytest.mark.parametrize("error", ['"no"', "null", '{"code":7}', "[]", "false"])
def test_an_object_with_error_is_an_application_error_and_only_the_error_is_kept(error: str) -> None:
    """Spec 8.4.3, 9.7.4, T50, T51."""
    body = f'{{"other":1,"error":{error}}}'.encode()

    outcome = OPENWHISK.ran(reply(body), ALLOWED)

    assert outcome.status is Status.APPLICATION_ERROR
    assert bytes(outcome.response) == f'{{"error":{error}}}'.encode()
    assert outcome.size == len(body)


def test_functions_compatibility_keeps_what_stands_beside_an_error() -> None:
    """Spec 8.8.6."""
    body = '{ "error" : "no", "other":"é" }'.encode()

    outcome = FUNCTIONS.ran(reply(body), ALLOWED)

    assert outcome == Outcome(Status.APPLICATION_ERROR, msgspec.Raw(body), len(body))


@pytest.mark.parametrize(
    "outcome",
    [
        FUNCTIONS.ran(reply('{"error":"é","other":1}'.encode(), status=502), ALLOWED),
        FUNCTIONS.ran(reply(b"7"), ALLOWED),
        FUNCTIONS.ran(reply(b"x", length=2_000_000), ALLOWED),
        FUNCTIONS.init_failed(reply(b'{"error":"bad code","other":1}', status=502), ALLOWED),
        FUNCTIONS.init_failed(reply(b"oops", status=502), ALLOWED),
    ],
)
def test_functions_compatibility_counts_the_error_that_replaces_an_answer(outcome: Outcome) -> None:
    """Spec 8.8.6."""
    assert result(outcome).keys() == {"error"}
    assert outcome.size == len(bytes(outcome.response))


def test_an_array_is_success_for_openwhisk_alone() -> None:
    """Spec 9.7.5, 9.10.6."""
    assert OPENWHISK.ran(reply(b"[1,2]"), ALLOWED).status is Status.SUCCESS
    assert FUNCTIONS.ran(reply(b"[1,2]"), ALLOWED).status is Status.DEVELOPER_ERROR


def test_null_is_an_empty_result_for_functions_alone() -> None:
    """Spec 9.7.6, 9.10.6."""
    outcome = FUNCTIONS.ran(reply(b"null"), ALLOWED)

    assert (outcome.status, result(outcome)) == (Status.SUCCESS, {})
    assert OPENWHISK.ran(reply(b"null"), ALLOWED).status is Status.DEVELOPER_ERROR


@pytest.mark.parametrize("body", ['"text"', "7", "true", "not json", "{", '{"a":NaN}'])
def test_anything_else_is_a_developer_error_that_quotes_it(body: str) -> None:
    """Spec 9.7.6, 9.7.1."""
    outcome = OPENWHISK.ran(reply(body.encode()), ALLOWED)

    assert outcome.status is Status.DEVELOPER_ERROR
    assert result(outcome) == {"error": f"The action did not produce a valid JSON or JSON Array response: {body}"}


def test_an_empty_answer_ends_the_sentence() -> None:
    outcome = OPENWHISK.ran(reply(b""), ALLOWED)

    assert result(outcome) == {"error": "The action did not produce a valid JSON or JSON Array response."}


def test_a_failed_run_that_says_why_is_believed() -> None:
    """Spec 9.7.4: any status but 200."""
    outcome = OPENWHISK.ran(reply(b'{"error":"boom"}', status=502), ALLOWED)

    assert (outcome.status, result(outcome)) == (Status.DEVELOPER_ERROR, {"error": "boom"})


@pytest.mark.parametrize("body", [b'{"ok":1}', b"[1]"])
def test_a_failed_run_that_does_not_is_an_invalid_response(body: bytes) -> None:
    outcome = OPENWHISK.ran(reply(body, status=500), ALLOWED)

    assert outcome.status is Status.DEVELOPER_ERROR
    assert result(outcome)["error"].endswith(body.decode())


@pytest.mark.parametrize("status", [200, 502])
def test_a_response_that_is_too_long_is_an_application_error(status: int) -> None:
    """Spec 9.7.3, T49."""
    outcome = OPENWHISK.ran(reply(b'{"a', status=status, length=2_000_000), 1_048_576)

    assert (outcome.status, outcome.size) == (Status.APPLICATION_ERROR, 2_000_000)
    assert result(outcome) == {
        "error": "The action produced a response that exceeded the allowed length: 2000000 > 1048576 bytes. "
        'The truncated response was: {"a'
    }


def test_a_failed_init_with_too_long_an_answer_is_a_developer_error() -> None:
    """Spec 9.6.5, T49."""
    assert OPENWHISK.init_failed(reply(b"x", length=2_000_000), 1_048_576).status is Status.DEVELOPER_ERROR


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":"bad code"}', "bad code"),
        (b"oops", "The action failed during initialization: oops"),
        (b"", "The action failed during initialization."),
    ],
)
def test_a_failed_init_tells_why_if_it_can(body: bytes, error: str) -> None:
    """Spec 9.6.4."""
    outcome = OPENWHISK.init_failed(reply(body, status=502), ALLOWED)

    assert (outcome.status, result(outcome)) == (Status.DEVELOPER_ERROR, {"error": error})


def test_size_counts_utf16_units_upstream_and_bytes_in_go() -> None:
    """Spec 8.4.4, T52."""
    body = '{"a":"😀é"}'.encode()

    assert OPENWHISK.ran(reply(body), ALLOWED).size == 11
    assert FUNCTIONS.ran(reply(body), ALLOWED).size == 14


def test_what_is_no_utf8_is_replaced() -> None:
    outcome = OPENWHISK.ran(reply(b'{"a":"\xff"}'), ALLOWED)

    assert (outcome.status, result(outcome)) == (Status.SUCCESS, {"a": "\ufffd"})


def test_lone_surrogates_are_passed_on() -> None:
    outcome = OPENWHISK.ran(reply(b'{"a":"\\ud800"}'), ALLOWED)

    assert (outcome.status, bytes(outcome.response)) == (Status.SUCCESS, b'{"a":"\\ud800"}')


@pytest.mark.parametrize(
    ("init", "text"),
    [
        (True, "The action exceeded its time limits of 1000 milliseconds during initialization."),
        (False, "The action exceeded its time limits of 1000 milliseconds."),
    ],
)
def test_a_timeout_names_the_limit_and_has_no_size(init: bool, text: str) -> None:  # noqa: FBT001
    outcome = OPENWHISK.timed_out(Limits(timeout=1000), init=init)

    assert (outcome.status, result(outcome), outcome.size) == (Status.DEVELOPER_ERROR, {"error": text}, None)


@pytest.mark.parametrize(
    ("exhausted", "init", "text"),
    [
        (True, True, "The action exhausted its memory and was aborted."),
        (True, False, "The action exhausted its memory and was aborted."),
        (False, True, "The action did not initialize and exited unexpectedly."),
        (False, False, "The action did not produce a valid response and exited unexpectedly."),
    ],
)
def test_a_lost_container_is_a_developer_error(exhausted: bool, init: bool, text: str) -> None:  # noqa: FBT001
    """Spec 9.6.6, 9.6.7, 9.7.7, 9.7.8."""
    outcome = OPENWHISK.lost(ContainerState(running=False, memory_exhausted=exhausted), init=init)

    assert (outcome.status, result(outcome)) == (Status.DEVELOPER_ERROR, {"error": text})


@pytest.mark.parametrize(
    ("cause", "status", "text"),
    [
        (FunctionNotFound("guest/x"), Status.APPLICATION_ERROR, "Action could not be found or may have been deleted."),
        (
            FunctionUnreadable("guest/x", "odd"),
            Status.WHISK_ERROR,
            "Action version is not compatible and cannot be invoked.",
        ),
        (
            FunctionUnreadable("guest/x", "a sequence", executable=False),
            Status.WHISK_ERROR,
            "Action could not be fetched.",
        ),
        (StoreUnavailable("down"), Status.WHISK_ERROR, "Action could not be fetched."),
        (Undecryptable("token", "no key"), Status.DEVELOPER_ERROR, "Parameter token could not be decrypted."),
        (StartFailed("no luck"), Status.WHISK_ERROR, "Failed to provision resources to run the action."),
        (
            StartFailed("404", developer_fault=True, public="Failed to pull container image 'foo/bar'."),
            Status.DEVELOPER_ERROR,
            "Failed to pull container image 'foo/bar'.",
        ),
    ],
)
def test_what_never_reached_a_container(cause: InvokerError, status: Status, text: str) -> None:
    """Spec 9.9, 6.7.7, 6.7.8, T12, T33."""
    outcome = OPENWHISK.not_started(cause)

    assert (outcome.status, result(outcome), outcome.size) == (status, {"error": text}, None)


def test_functions_compatibility_has_its_own_texts() -> None:
    """Spec 11.2."""
    assert result(FUNCTIONS.ran(reply(b"x"), ALLOWED)) == {
        "error": "The function did not produce a valid JSON response: x"
    }
    assert result(FUNCTIONS.not_started(FunctionNotFound("guest/x"))) == {
        "error": "Function could not be found or may have been deleted."
    }
