"""What a caller sees on the wire, on both listeners."""

import json
from http import HTTPStatus

import pytest

from invoker.config import ByteSize, LimitsSettings, Seconds
from invoker.testing.builders import an_id
from invoker.testing.intake import FakeIntake
from invoker.testing.transport import a_message
from tests.plugins.transport_http.caller import Got, calling, get, http, listening, post

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT = LimitsSettings().message


def why(got: Got) -> str:
    """Return the reason of a refusal."""
    assert got.headers["Content-Type"] == "application/json"
    reason: str = json.loads(got.body)["error"]
    return reason


async def test_the_header_is_there_while_the_function_runs(listener: str) -> None:
    intake = FakeIntake()

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        with intake.held():
            await caller.send(post(a_message()))
            head = await caller.reader.readexactly(len(HEAD))
            completed = intake.count("completed")
        body = await caller.reader.readuntil(b"\r\n0\r\n\r\n")

    assert head == HEAD
    assert completed == 0
    size, _, chunk = body.partition(b"\r\n")
    assert len(chunk) == int(size, 16) + len(b"\r\n0\r\n\r\n")


async def test_a_connection_serves_one_request_after_the_other(listener: str) -> None:
    intake = FakeIntake()
    ids = [an_id() for _ in range(3)]

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = [await caller.ask(post(a_message(each))) for each in ids]

    assert [json.loads(each.body)["response"]["activationId"] for each in got] == ids


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("target", ["/invoke", "/invoke?blocking=true", "http://invoker0:8080/invoke"])
async def test_messages_are_taken_at_invoke(listener: str, method: str, target: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(a_message(), target=target, method=method))

    assert got.status == HTTPStatus.OK


async def test_the_type_and_coding_of_a_body_mean_nothing(listener: str) -> None:
    intake = FakeIntake()
    types = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "\u00ff")

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = [await caller.ask(post(a_message(size=LIMIT), f"Content-Type: {each}")) for each in types]
        coded = await caller.ask(post(a_message(), "Content-Encoding: gzip"))

    assert [each.status for each in (*got, coded)] == [HTTPStatus.OK] * 5


async def test_other_paths_say_what_there_is(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = [await caller.ask(get(target)) for target in ("/", "/Invoke", "/invoke/", "/metrics")]

    assert [each.status for each in got] == [HTTPStatus.NOT_FOUND] * 4
    assert "POST /invoke" in why(got[0])


@pytest.mark.parametrize(
    ("method", "target", "allowed"), [("GET", "/invoke", "POST, PUT"), ("POST", "/ping", "GET, HEAD")]
)
async def test_other_methods_are_told_which_are_allowed(listener: str, method: str, target: str, allowed: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(get(target, method=method))

    assert got.status == HTTPStatus.METHOD_NOT_ALLOWED
    assert got.headers["Allow"] == allowed


async def test_ping_answers_on_the_data_listener(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(get("/ping"))
        await caller.send(get("/ping", method="HEAD"))
        head = await caller.head()
        after = await caller.ask(get("/ping"))  # a body after HEAD would be read as this response

    assert (got.status, got.body) == (HTTPStatus.OK, b"pong")
    assert (head.head, after.body) == (got.head, b"pong")


async def test_a_refusal_is_the_same_bytes_from_either_listener(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(get("/ping"))

    assert got.head == (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\n")


async def test_a_declared_length_above_the_limit_is_refused_unread(listener: str) -> None:
    intake = FakeIntake()

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(f"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\n\r\n".encode())
        rest = await caller.rest()

    assert got.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert str(LIMIT) in why(got)
    assert (got.headers["Connection"], rest) == ("close", b"")
    assert not intake.events


async def test_a_caller_that_sends_too_much_can_read_why(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(a_message(size=4 * LIMIT)))

    assert got.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = b"POST /invoke HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x;note=1\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


async def test_a_chunked_body_is_a_body(listener: str) -> None:
    intake = FakeIntake()

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = [await caller.ask(chunked(a_message(size=size), 1000)) for size in (900, 70_000, LIMIT)]

    assert [each.status for each in got] == [HTTPStatus.OK] * 3
    assert [each.size for each in intake.admitted] == [900, 70_000, LIMIT]


async def test_a_chunked_body_above_the_limit_is_refused(listener: str) -> None:
    intake = FakeIntake()

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(chunked(a_message(size=LIMIT + 1), 50_000))

    assert got.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert not intake.events


async def test_an_endless_body_is_refused_before_its_end(listener: str) -> None:
    endless = chunked(b"x" * 2 * LIMIT, 50_000).removesuffix(b"0\r\n\r\n")

    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(endless)

    assert got.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


async def test_a_caller_that_asks_first_is_invited(listener: str) -> None:
    message = a_message()
    head, _, _ = post(message, "Expect: 100-continue").partition(b"\r\n\r\n")

    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        await caller.send(head + b"\r\n\r\n")
        invitation = await caller.reader.readuntil(b"\r\n\r\n")
        got = await caller.ask(message)

    assert invitation == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert got.status == HTTPStatus.OK


async def test_a_caller_that_asks_first_is_refused_first(listener: str) -> None:
    head = f"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\nExpect: 100-continue\r\n\r\n"

    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(head.encode())

    assert got.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


async def test_what_is_no_message_is_a_bad_request_and_keeps_the_connection(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(b'{"transid":["a",1]}'))
        empty = await caller.ask(post(b""))
        after = await caller.ask(post(a_message()))

    assert [got.status, empty.status, after.status] == [HTTPStatus.BAD_REQUEST] * 2 + [HTTPStatus.OK]
    assert why(got)


async def test_without_room_the_caller_is_told_when_to_try_again(listener: str) -> None:
    intake = FakeIntake()
    intake.turn_away(retry_after=7)

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(a_message()))
        after = await caller.ask(post(a_message()))

    assert (got.status, got.headers["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "7")
    assert "there is no room" in why(got)
    assert after.status == HTTPStatus.OK


async def test_a_slow_body_is_given_up(listener: str) -> None:
    intake = FakeIntake()

    async with (
        listening(intake, http(listener=listener, body_timeout=Seconds(0.05))) as url,
        calling(url) as caller,
    ):
        got = await caller.ask(post(a_message())[:-1])
        rest = await caller.rest()

    assert (got.status, got.headers["Connection"], rest) == (HTTPStatus.REQUEST_TIMEOUT, "close", b"")
    assert not intake.events


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n"]
)
async def test_what_is_no_http_is_a_bad_request(listener: str, nonsense: bytes) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(nonsense)
        rest = await caller.rest()

    assert (got.status, got.headers["Connection"], rest) == (HTTPStatus.BAD_REQUEST, "close", b"")
    assert why(got)


@pytest.mark.parametrize(
    "framing",
    ["Content-Length: 1\r\nContent-Length: 2", "Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: -1"],
)
async def test_a_body_of_two_lengths_is_a_bad_request(listener: str, framing: str) -> None:
    intake = FakeIntake()

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(f"POST /invoke HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())

    assert got.status == HTTPStatus.BAD_REQUEST
    assert not intake.events


async def test_endless_headers_are_refused(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(get("/ping", f"X-Long: {'x' * 40_000}"))

    assert got.status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


@pytest.mark.parametrize("body", [a_message(), b""])
async def test_an_upgrade_is_declined_and_the_request_served(listener: str, body: bytes) -> None:
    intake = FakeIntake()
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(body, *upgrade) if body else get("/ping", *upgrade))

    assert got.status == HTTPStatus.OK
    assert [each.size for each in intake.admitted] == ([len(body)] if body else [])


async def test_a_small_limit_holds_for_chunked_bodies_too(listener: str) -> None:
    limits = LimitsSettings(payload=ByteSize(1000), message_overhead=ByteSize(0))

    async with listening(FakeIntake(), http(listener=listener), limits) as url, calling(url) as caller:
        got = await caller.ask(chunked(a_message(size=1000), 1000))
        refused = await caller.ask(chunked(a_message(size=1001), 2000))

    assert [got.status, refused.status] == [HTTPStatus.OK, HTTPStatus.REQUEST_ENTITY_TOO_LARGE]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_broken_chunk_is_a_bad_request(listener: str, *, at_once: bool) -> None:
    intake = FakeIntake()
    head = chunked(b"", 1).removesuffix(b"0\r\n\r\n")
    broken = b"5\r\nhello\r\nnonsense\r\n"

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(*([head + broken] if at_once else [head, broken]))

    assert got.status == HTTPStatus.BAD_REQUEST
    assert not intake.events
