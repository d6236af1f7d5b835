"""What a caller sees on the wire."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import pytest

from invoker.config import ByteSize, LimitsSettings, Seconds
from invoker.contracts import Admitted
from invoker.testing.builders import an_id
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker.testing.transport import a_message
from tests.plugins.transport_http.caller import Got, calling, get, listening, one_caller, post

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT = LimitsSettings().message


def why(got: Got) -> str:
    """Return the reason of a refusal."""
    assert got.headers["Content-Type"] == "application/json"
    reason: str = json.loads(got.body)["error"]
    return reason


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = b"POST /invoke HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x;note=1\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


# --- what is taken, and how it is told -------------------------------------------------------------------------------


async def test_the_header_is_there_while_the_function_runs() -> None:
    intake = FakeIntake()

    async with one_caller(intake) as caller:
        with intake.held():
            await caller.send(post(a_message()))
            head = await caller.reader.readexactly(len(HEAD))
            completed = intake.count("completed")
        body = await caller.reader.readuntil(b"\r\n0\r\n\r\n")

    assert head == HEAD
    assert completed == 0
    size, _, chunk = body.partition(b"\r\n")
    assert len(chunk) == int(size, 16) + len(b"\r\n0\r\n\r\n")


async def test_a_connection_serves_one_request_after_the_other() -> None:
    ids = [an_id() for _ in range(3)]

    async with one_caller() as caller:
        got = [await caller.ask(post(a_message(each))) for each in ids]

    assert [json.loads(each.body)["response"]["activationId"] for each in got] == ids


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("target", ["/invoke", "/invoke?blocking=true", "http://invoker0:8080/invoke"])
async def test_messages_are_taken_at_invoke(method: str, target: str) -> None:
    async with one_caller() as caller:
        got = await caller.ask(post(a_message(), target=target, method=method))

    assert got.status == HTTPStatus.OK


async def test_the_type_of_a_body_means_nothing() -> None:
    types = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "\u00ff")

    async with one_caller() as caller:
        got = [await caller.ask(post(a_message(size=LIMIT), f"Content-Type: {each}")) for each in types]

    assert [each.status for each in got] == [HTTPStatus.OK] * 4


async def test_a_chunked_body_is_a_body() -> None:
    intake = FakeIntake()
    sizes = [900, 70_000, LIMIT]

    async with one_caller(intake) as caller:
        got = [await caller.ask(chunked(a_message(size=size), 1000)) for size in sizes]

    assert [each.status for each in got] == [HTTPStatus.OK] * 3
    assert [each.size for each in intake.admitted] == sizes


async def test_what_callers_say_of_their_message_goes_along_for_the_log() -> None:
    intake = FakeIntake()
    said = (
        "Functions-Activation-Id: 3f2a9c5d7e1b48068a4d2c6e90b1f735",
        "functions-namespace: zo\u00e9\t\u202e\u0085[31m",
        "FUNCTIONS-FUNCTION: " + "\u20ac" * 1000,
        "X-Functions-Other: nothing",
        "Functions: nothing",
    )

    async with one_caller(intake) as caller:
        await caller.ask(post(a_message(), *said))
        await caller.ask(post(a_message()))

    found = {
        "Functions-Activation-Id": "3f2a9c5d7e1b48068a4d2c6e90b1f735",
        "Functions-Namespace": "zo\u00e9[31m",
        "Functions-Function": "\u20ac" * 256,
    }
    assert [(each.via, dict(each.context)) for each in intake.admitted] == [("http", found), ("http", {})]


@pytest.mark.parametrize(
    ("identity", "present"),
    [("both", {"instance", "invoker"}), ("instance", {"instance"}), ("invoker", {"invoker"})],
)
async def test_acknowledgements_spell_the_invoker_as_its_controller_reads_it(identity: str, present: set[str]) -> None:
    async with one_caller(ack_identity=identity) as caller:
        answer = json.loads((await caller.ask(post(a_message()))).body)

    assert answer.keys() & {"instance", "invoker"} == present


async def test_who_does_not_wait_gets_the_combined_form_with_the_id() -> None:
    message = an_id()

    async with one_caller() as caller:
        answer = json.loads((await caller.ask(post(a_message(message, blocking=False)))).body)

    assert answer["response"] == message
    assert "activationId" not in answer


async def test_an_old_caller_reads_to_the_end_of_the_connection() -> None:
    async with one_caller() as caller:
        got = await caller.ask(post(a_message(), "Connection: keep-alive", version="1.0"))

    assert got.head == b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    assert "response" in json.loads(got.body)


async def test_a_caller_that_wants_its_connection_closed_has_it_closed() -> None:
    async with one_caller() as caller:
        got = await caller.ask(post(a_message(), "Connection: close"))
        rest = await caller.rest()

    assert (got.status, got.headers["Connection"], rest) == (HTTPStatus.OK, "close", b"")


@pytest.mark.parametrize("body", [a_message(), b""])
async def test_an_upgrade_is_declined_and_the_request_served(body: bytes) -> None:
    intake = FakeIntake()
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")

    async with one_caller(intake) as caller:
        got = await caller.ask(post(body, *upgrade) if body else get("/ping", *upgrade))

    assert got.status == HTTPStatus.OK
    assert [each.size for each in intake.admitted] == ([len(body)] if body else [])


# --- what there is besides -------------------------------------------------------------------------------------------


async def test_ping_answers_on_the_data_listener() -> None:
    async with one_caller() as caller:
        got = await caller.ask(get("/ping"))
        await caller.send(get("/ping", method="HEAD"))
        head = await caller.head()
        after = await caller.ask(get("/ping"))  # a body after HEAD would be read as this response

    assert got.head == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\n"
    assert (got.body, head.head, after.body) == (b"pong", got.head, b"pong")


@pytest.mark.parametrize(("life", "status"), [("starting", 200), ("draining", 503)])
async def test_ping_says_when_no_work_is_taken_any_more(life: str, status: int) -> None:
    operations = FakeOperations()
    operations.told = [life, "something else"]

    async with one_caller(operations=operations) as caller:
        got = await caller.ask(get("/ping"))

    assert (got.status, got.headers.get("Retry-After")) == (status, None if status == 200 else "1")


async def test_other_paths_say_what_there_is() -> None:
    async with one_caller() as caller:
        got = [await caller.ask(get(target)) for target in ("/", "/Invoke", "/invoke/", "/metrics")]

    assert [each.status for each in got] == [HTTPStatus.NOT_FOUND] * 4
    assert "POST /invoke" in why(got[0])


@pytest.mark.parametrize(
    ("method", "target", "allowed"), [("GET", "/invoke", "POST, PUT"), ("POST", "/ping", "GET, HEAD")]
)
async def test_other_methods_are_told_which_are_allowed(method: str, target: str, allowed: str) -> None:
    async with one_caller() as caller:
        got = await caller.ask(get(target, method=method))

    assert (got.status, got.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, allowed)


# --- what is refused -------------------------------------------------------------------------------------------------


async def test_a_declared_length_above_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.connection.LINGER", 60.0)  # what follows is told before that is over
    intake = FakeIntake()

    async with one_caller(intake) as caller:
        got = await caller.ask(
            f"POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LIMIT + 1}\r\n\r\n".encode()
        )
        rest = await caller.rest()

    assert got.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert str(LIMIT) in why(got)
    assert (got.headers["Connection"], rest) == ("close", b"")
    assert not intake.events


@pytest.mark.parametrize(
    "request_",
    [
        post(a_message(size=4 * LIMIT)),
        chunked(a_message(size=LIMIT + 1), 50_000),
        chunked(b"x" * 2 * LIMIT, 50_000).removesuffix(b"0\r\n\r\n"),
        f"POST /invoke HTTP/1.1\r\nContent-Length: {LIMIT + 1}\r\nExpect: 100-continue\r\n\r\n".encode(),
    ],
    ids=["sent all the same", "chunked", "endless", "asked first"],
)
async def test_a_caller_that_sends_too_much_can_read_why(request_: bytes) -> None:
    intake = FakeIntake()

    async with one_caller(intake) as caller:
        got = await caller.ask(request_)

    assert got.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert not intake.events


async def test_a_small_limit_holds_for_chunked_bodies_too() -> None:
    limits = LimitsSettings(payload=ByteSize(1000), message_overhead=ByteSize(0))

    async with one_caller(None, limits) as caller:
        got = await caller.ask(chunked(a_message(size=1000), 1000))
        refused = await caller.ask(chunked(a_message(size=1001), 2000))

    assert [got.status, refused.status] == [HTTPStatus.OK, HTTPStatus.REQUEST_ENTITY_TOO_LARGE]


async def test_a_caller_that_asks_first_is_invited() -> None:
    message = a_message()

    async with one_caller() as caller:
        await caller.send(post(message, "Expect: 100-continue").removesuffix(message))
        invitation = await caller.reader.readuntil(b"\r\n\r\n")
        got = await caller.ask(message)

    assert invitation == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert got.status == HTTPStatus.OK


async def test_what_is_no_message_is_a_bad_request_and_keeps_the_connection() -> None:
    async with one_caller() as caller:
        got = await caller.ask(post(b'{"transid":["a",1]}'))
        empty = await caller.ask(post(b""))
        after = await caller.ask(post(a_message()))

    assert [got.status, empty.status, after.status] == [HTTPStatus.BAD_REQUEST] * 2 + [HTTPStatus.OK]
    assert why(got)


async def test_without_room_the_caller_is_told_when_to_try_again() -> None:
    intake = FakeIntake()

    async with one_caller(intake) as caller:
        with intake.full(retry_after=7):
            got = await caller.ask(post(a_message()))
        after = await caller.ask(post(a_message()))

    assert (got.status, got.headers["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "7")
    assert "there is no room" in why(got)
    assert after.status == HTTPStatus.OK


async def test_while_the_invoker_drains_the_caller_is_told_to_go_elsewhere() -> None:
    intake = FakeIntake()

    async with one_caller(intake) as caller:
        intake.refuse()
        got = await caller.ask(post(a_message()))
        rest = await caller.rest()

    assert (got.status, got.headers["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "1")
    assert (got.headers["Connection"], rest) == ("close", b"")
    assert "stopping" in why(got)


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n"]
)
async def test_what_is_no_http_is_a_bad_request(nonsense: bytes) -> None:
    async with one_caller() as caller:
        got = await caller.ask(nonsense)
        rest = await caller.rest()

    assert (got.status, got.headers["Connection"], rest) == (HTTPStatus.BAD_REQUEST, "close", b"")
    assert why(got)


@pytest.mark.parametrize(
    "framing",
    ["Content-Length: 1\r\nContent-Length: 2", "Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: -1"],
)
async def test_a_body_of_two_lengths_is_a_bad_request(framing: str) -> None:
    intake = FakeIntake()

    async with one_caller(intake) as caller:
        got = await caller.ask(f"POST /invoke HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode())

    assert got.status == HTTPStatus.BAD_REQUEST
    assert not intake.events


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_broken_chunk_is_a_bad_request(*, at_once: bool) -> None:
    intake = FakeIntake()
    head = chunked(b"", 1).removesuffix(b"0\r\n\r\n")
    broken = b"5\r\nhello\r\nnonsense\r\n"

    async with one_caller(intake) as caller:
        got = await caller.ask(*([head + broken] if at_once else [head, broken]))

    assert got.status == HTTPStatus.BAD_REQUEST
    assert not intake.events


async def test_endless_headers_are_refused() -> None:
    async with one_caller() as caller:
        got = await caller.ask(get("/ping", f"X-Long: {'x' * 40_000}"))

    assert got.status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


@pytest.mark.parametrize("request_", [post(a_message())[:-1], get("/ping")[:-1]], ids=["body", "head"])
async def test_what_takes_too_long_to_arrive_is_given_up(request_: bytes) -> None:
    intake = FakeIntake()

    async with one_caller(intake, body_timeout=Seconds(0.05)) as caller:
        await caller.ask(get("/ping"))
        got = await caller.ask(request_)
        rest = await caller.rest()

    assert (got.status, got.headers["Connection"], rest) == (HTTPStatus.REQUEST_TIMEOUT, "close", b"")
    assert not intake.events


async def test_who_sends_on_and_on_has_no_more_time_for_it() -> None:
    async with one_caller(body_timeout=Seconds(0.5)) as caller, asyncio.TaskGroup() as tasks:

        async def trickle() -> None:
            await caller.send(post(a_message())[:50])
            while True:
                await asyncio.sleep(0.02)  # which is what such a caller does
                await caller.send(b"x")

        trickling = tasks.create_task(trickle())
        got = await caller.response()
        trickling.cancel()

    assert got.status == HTTPStatus.REQUEST_TIMEOUT


class Raising(FakeIntake):
    """Breaks its promise to raise nothing else."""

    def admit(self, body: bytes, **_: Any) -> Admitted:
        raise LookupError(body)


async def test_an_error_of_ours_ends_one_connection_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(Raising()) as url:
        async with calling(url) as caller:
            got = await caller.ask(post(a_message()))
            rest = await caller.rest()
        async with calling(url) as other:
            after = await other.ask(get("/ping"))

    assert (got.status, rest, after.status) == (HTTPStatus.INTERNAL_SERVER_ERROR, b"", HTTPStatus.OK)
    assert [record.message for record in caplog.records] == ["a request broke the invoker"]
