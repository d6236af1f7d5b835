"""Requests from bytes in any pieces."""

import itertools
from typing import Any

import pytest

from invoker.testing.intake import FakeIntake
from invoker.testing.transport import a_message
from invoker_http.endpoints import HttpRequest, MessageEndpoint
from invoker_http.requests import HEAD_LIMIT, SLICE, RequestReader
from invoker_http.responses import HEAD_TOO_LARGE, TOO_SLOW
from tests.plugins.transport_http.caller import get, post


@pytest.fixture
def endpoint() -> MessageEndpoint:
    return MessageEndpoint(FakeIntake(), lambda: False, limit=100)


@pytest.fixture
def reader(endpoint: MessageEndpoint) -> RequestReader:
    return RequestReader(endpoint)


def read(reader: RequestReader) -> list[tuple[Any, ...]]:
    """Take what there is: status and kept, or body and kept."""
    return [
        (each.response.status.value if each.response else bytes(each.body), each.keep_alive) for each in taken(reader)
    ]


def taken(reader: RequestReader) -> list[HttpRequest]:
    """Take what there is."""
    found = []
    while reader.more:
        if (request := next_of(reader)) is not None:
            found.append(request)
    return found


def next_of(reader: RequestReader) -> HttpRequest | None:
    """Parse a piece; return a request if one is whole."""
    reader.read()
    return reader.take()


CHUNKED = (
    b"PUT /invoke?x=1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nFunctions-Account: zoe\r\n\r\n"
    b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
)
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
UPGRADE = post(b"upgraded", *H2C)
STREAM = b"\r\n" + post(b"first") + get("/ping") + CHUNKED + post(b"") + get("/nowhere") + UPGRADE + get("/ping")
EXPECTED = [
    (b"first", True),
    (200, True),
    (b"hello world", True),
    (b"", True),
    (404, True),
    (b"upgraded", True),
    (200, True),
]


def test_every_way_to_split_requests_gives_the_same(endpoint: MessageEndpoint) -> None:
    for size in (1, 2, 3, 7, 50, len(STREAM)):
        pieces = RequestReader(endpoint)
        for at in range(0, len(STREAM), size):
            pieces.feed(STREAM[at : at + size])
        assert read(pieces) == EXPECTED, size

    for at in range(len(STREAM)):
        halves = RequestReader(endpoint)
        halves.feed(STREAM[:at])
        halves.feed(STREAM[at:])
        assert read(halves) == EXPECTED, at


@pytest.mark.parametrize("requests", [get("/ping"), b"GET /ping HTTP/1.1\r\n\r\n", CHUNKED, post(b"x" * 100)])
def test_what_comes_at_once_is_parsed_bit_by_bit(reader: RequestReader, requests: bytes) -> None:
    count = 20 * SLICE // len(requests)

    reader.feed(requests * (count // 2))
    reader.feed(requests * (count - count // 2))  # though it was not asked for
    before = reader.kept
    first = next_of(reader)

    assert first is not None
    assert before == count * len(requests)
    assert before - reader.kept <= SLICE
    assert len(read(reader)) == count - 1


def test_a_body_in_tiny_chunks_is_parsed_bit_by_bit(reader: RequestReader, endpoint: MessageEndpoint) -> None:
    endpoint.limit = 1 << 20
    chunks = 4 * SLICE // 3
    reader.feed(b"POST /invoke HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")

    pieces = 1
    while (request := next_of(reader)) is None:
        pieces += 1

    assert pieces > 4
    assert (request.body, reader.more) == (b"x" * chunks, False)


def test_a_body_of_known_length_is_parsed_at_once(reader: RequestReader, endpoint: MessageEndpoint) -> None:
    endpoint.limit = 1 << 20
    reader.feed(post(b"x" * (1 << 20)))

    assert next_of(reader) is None
    request = next_of(reader)

    assert request is not None
    assert len(request.body) == 1 << 20
    assert reader.kept == 0


def test_what_is_kept_is_known_at_every_byte(reader: RequestReader) -> None:
    request = CHUNKED + post(b"hello")

    kept = []
    for byte in request:
        reader.feed(bytes([byte]))
        if (found := next_of(reader)) is not None:
            kept.append((len(found.body), reader.kept))

    assert kept == [(11, 0), (5, 0)]


def test_what_arrives_and_what_it_came_with_is_kept_until_it_is_taken(reader: RequestReader) -> None:
    reader.feed(get("/ping")[:-1])
    reader.read()
    of_a_head = reader.kept
    reader.feed(b"\n" + post(b"hello") * 1000)
    brought = reader.kept - of_a_head
    reader.read()
    of_many = reader.kept - sum(len(each.body) for each in reader._ready)

    assert 0 < of_a_head < 2 * len(get("/ping"))
    assert brought == 1 + 1000 * len(post(b"hello")) <= of_many
    assert len(read(reader)) == 1001
    assert reader.kept == 0


def test_a_refusal_keeps_nothing_of_what_was_whole_before(reader: RequestReader) -> None:
    reader.feed(post(b"hello"))
    reader.read()

    reader.refuse(TOO_SLOW)

    assert [bytes(each.body) for each in taken(reader)] == [b"hello", b""]
    assert reader.kept == 0


def test_a_request_is_partial_from_its_first_byte_to_its_last(reader: RequestReader) -> None:
    request = post(b"hello")

    states = []
    for byte in request:
        states.append(reader.partial)
        reader.feed(bytes([byte]))
        next_of(reader)

    assert states == [False] + [True] * (len(request) - 1)
    assert not reader.partial


def test_context_is_that_of_its_own_request(reader: RequestReader) -> None:
    reader.feed(CHUNKED + post(b"hello"))

    assert [each.context for each in taken(reader)] == [{"Functions-Account": "zoe"}, None]


def test_a_body_is_the_intakes_once_it_is_admitted() -> None:
    request = HttpRequest(body=a_message())

    MessageEndpoint(FakeIntake(), lambda: False, limit=1000).admit(request)

    assert request.body == b""


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /", b"x" * 1000),
        (b"GET /ping HTTP/1.1\r\nX-Long: ", b"x" * 1000),
        (b"GET /ping HTTP/1.1\r\n", b"x" * 1000),
        (b"GET /ping HTTP/1.1\r\n", b"X-Header: x\r\n"),
        (b"GET /ping HTTP/1.1\r\n", b"X-Header: %b\r\n" % (b"x" * 1000)),
        (b"POST /invoke HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Long: ", b"x" * 1000),
        (b"POST /invoke HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 1000),
    ],
    ids=["target", "value", "name", "many", "long", "trailer", "extension"],
)
def test_what_has_no_end_is_refused(reader: RequestReader, start: bytes, piece: bytes) -> None:
    reader.feed(start)

    fed, found = 0, []
    while not reader.done and fed < 3 * HEAD_LIMIT:
        reader.feed(piece)
        fed += len(piece)
        found = taken(reader)

    assert [each.response for each in found] == [HEAD_TOO_LARGE]
    assert HEAD_LIMIT - 2000 < fed < HEAD_LIMIT + 2000


@pytest.mark.parametrize("headers", [16, 1])
def test_a_head_that_comes_at_once_has_the_same_limit(reader: RequestReader, headers: int) -> None:
    lines = (f"X-{number}: {'x' * (HEAD_LIMIT // headers)}" for number in range(headers))

    reader.feed(get("/ping", *lines))

    assert read(reader) == [(431, False)]


def test_a_large_body_before_a_small_request_is_no_large_head(reader: RequestReader, endpoint: MessageEndpoint) -> None:
    endpoint.limit = 1 << 20
    first = post(b"x" * 50_000)

    found = []
    for piece in (first[:100], first[100:] + get("/ping")[:20], get("/ping")[20:]):
        reader.feed(piece)
        found += read(reader)

    assert [kept for _, kept in found] == [True, True]


def test_a_body_of_exactly_the_limit_is_read(reader: RequestReader) -> None:
    reader.feed(post(b"x" * 100))
    reader.feed(post(b"x" * 101)[:-1])

    assert read(reader) == [(b"x" * 100, True), (413, False)]
    assert reader.unread


def test_a_refused_request_that_has_come_whole_is_not_waited_for(reader: RequestReader) -> None:
    reader.feed(post(b"x" * 101))

    assert read(reader) == [(413, False)]
    assert not reader.unread


# --- the end ---------------------------------------------------------------------------------------------------------


def test_after_a_refusal_nothing_is_read(reader: RequestReader, endpoint: MessageEndpoint) -> None:
    reader.feed(post(b"x" * 101) + get("/ping") * 1000 + b"nonsense")
    first = taken(reader)
    reader.feed(get("/ping"))

    assert [each.response for each in first] == [endpoint.too_large]
    assert not reader.more


def test_requests_before_nonsense_are_answered_first(reader: RequestReader) -> None:
    reader.feed(get("/ping") + b"nonsense")

    assert read(reader) == [(200, True), (400, False)]


@pytest.mark.parametrize("others", [1, 1000])
def test_after_the_last_request_nothing_is_read(reader: RequestReader, others: int) -> None:
    reader.feed(get("/ping", "Connection: close") + get("/ping") * others)
    found = read(reader)
    reader.feed(get("/ping"))

    assert found == [(200, False)]
    assert not reader.more
    assert not reader.unread


CHUNKED_UPGRADE = CHUNKED.replace(b"\r\n", b"\r\n%b\r\n" % "\r\n".join(H2C).encode(), 1)


@pytest.mark.parametrize(
    ("upgrade", "found"), [(get("/ping", *H2C), 200), (UPGRADE, b"upgraded"), (CHUNKED_UPGRADE, b"hello world")]
)
def test_after_an_offer_to_upgrade_requests_are_read_as_before(
    reader: RequestReader, upgrade: bytes, found: object
) -> None:
    reader.feed((upgrade + post(b"hello")) * 100)

    assert read(reader) == [(found, True), (b"hello", True)] * 100


def test_what_is_refused_by_its_head_is_not_waited_for(reader: RequestReader) -> None:
    reader.feed(post(b"x" * 50, target="/nowhere")[:-1])

    assert read(reader) == [(404, False)]
    assert reader.unread


def test_a_target_that_is_no_path_is_nothing(reader: RequestReader) -> None:
    reader.feed(get("*") + get("http://[/invoke") + get("x:1", method="CONNECT"))

    assert read(reader)[0] == (404, True)


def test_giving_up_is_a_refusal(reader: RequestReader) -> None:
    reader.feed(get("/ping")[:-1])

    assert next_of(reader) is None
    reader.refuse(TOO_SLOW)
    reader.refuse(TOO_SLOW)

    assert [each.response for each in taken(reader)] == [TOO_SLOW]


@pytest.mark.parametrize(
    ("request_", "invited"),
    [
        (post(b"hello", "Expect: 100-continue"), True),
        (post(b"hello", "expect: 100-Continue"), True),
        (post(b"hello", "Expect: 100-continue", target="/nowhere"), False),
    ],
)
def test_a_body_is_invited_only_if_it_is_wanted_and_has_not_come(
    reader: RequestReader, request_: bytes, *, invited: bool
) -> None:
    reader.feed(request_.removesuffix(b"hello"))
    next_of(reader)
    assert reader.held_back == invited

    reader.feed(b"hello")
    next_of(reader)
    assert not reader.held_back


def test_no_body_is_not_invited(reader: RequestReader) -> None:
    reader.feed(post(b"", "Expect: 100-continue"))

    assert next_of(reader) is not None
    assert not reader.held_back


def test_any_bytes_at_all_are_survived(endpoint: MessageEndpoint) -> None:
    for pair in itertools.product(range(0, 256, 5), repeat=2):
        fresh = RequestReader(endpoint)
        fresh.feed(b"POST /invoke HTTP/1.1\r\n" + bytes(pair) + b"\r\nContent-Length: 1\r\n\r\n")
        assert len(taken(fresh)) <= 1
