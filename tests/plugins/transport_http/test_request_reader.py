"""Requests from bytes in any pieces."""

import itertools
from typing import Any

import pytest

from invoker.config import NodeSettings, PoolSettings, node_of
from invoker.testing.intake import FakeIntake
from invoker.wire.acknowledgement import Acknowledger
from invoker_http.door import HEAD_TOO_LARGE, TOO_SLOW, Door
from invoker_http.request_reader import HEAD_LIMIT, RequestReader
from tests.plugins.transport_http.caller import get, post


@pytest.fixture
def invitations() -> list[str]:
    return []


@pytest.fixture
def reader(invitations: list[str]) -> RequestReader:
    acknowledger = Acknowledger(node_of(NodeSettings(), PoolSettings()), spelling="both", compat="openwhisk")
    return RequestReader(Door(FakeIntake(), acknowledger, limit=100), lambda: invitations.append("come"))


def read(reader: RequestReader) -> list[tuple[Any, ...]]:
    """Take what is ready: status and kept, or body and kept."""
    taken = [(each.reply.status.value if each.reply else each.body, each.keep_alive) for each in reader.ready]
    reader.ready.clear()
    return taken


CHUNKED = (
    b"PUT /invoke?x=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nFunctions-Account: zoe\r\n\r\n"
    b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
)
UPGRADE = post(b"upgraded", "Connection: Upgrade", "Upgrade: h2c")
STREAM = b"\r\n" + post(b"first") + get("/ping") + CHUNKED + post(b"") + get("/nowhere") + UPGRADE
EXPECTED = [(b"first", True), (200, True), (b"hello world", True), (b"", True), (404, True), (b"upgraded", False)]


def test_every_way_to_split_requests_gives_the_same(reader: RequestReader) -> None:
    reader.feed(STREAM)
    assert read(reader) == EXPECTED

    for size in (1, 2, 3, 7, 50):
        pieces = RequestReader(reader._door, list[None]().clear)
        for at in range(0, len(STREAM), size):
            pieces.feed(STREAM[at : at + size])
        assert read(pieces) == EXPECTED, size

    for at in range(len(STREAM)):
        halves = RequestReader(reader._door, list[None]().clear)
        halves.feed(STREAM[:at])
        halves.feed(STREAM[at:])
        assert read(halves) == EXPECTED, at


def test_a_request_is_partial_from_its_first_byte_to_its_last(reader: RequestReader) -> None:
    request = post(b"hello")

    states = []
    for byte in request:
        states.append(reader.partial)
        reader.feed(bytes([byte]))

    assert states == [False] + [True] * (len(request) - 1)
    assert not reader.partial


def test_context_is_that_of_its_own_request(reader: RequestReader) -> None:
    reader.feed(CHUNKED + post(b"hello"))

    assert [dict(each.context) for each in reader.ready] == [{"Functions-Account": "zoe"}, {}]


@pytest.mark.parametrize("pieces", [1, 1000])
def test_headers_without_end_are_refused(reader: RequestReader, pieces: int) -> None:
    reader.feed(b"GET /ping HTTP/1.1\r\n")

    fed = 0
    while not reader.done and fed < 3 * HEAD_LIMIT:
        line = b"X-Header: %b\r\n" % (b"x" * pieces)
        reader.feed(line)
        fed += len(line)

    assert [each.reply for each in reader.ready] == [HEAD_TOO_LARGE]
    assert HEAD_LIMIT - 2000 < fed < HEAD_LIMIT + 2000


@pytest.mark.parametrize("start", [b"GET /", b"GET /ping HTTP/1.1\r\nX-Long: ", b"GET /ping HTTP/1.1\r\n"])
def test_one_header_without_end_is_refused(reader: RequestReader, start: bytes) -> None:
    reader.feed(start)

    for _ in range(HEAD_LIMIT // 1000 + 1):
        reader.feed(b"x" * 1000)

    assert [each.reply for each in reader.ready] == [HEAD_TOO_LARGE]


@pytest.mark.parametrize("endless", [b"X-Trailer: " + b"x" * 1000, b"1;" + b"x" * 1000])
def test_trailers_and_extensions_without_end_are_refused(reader: RequestReader, endless: bytes) -> None:
    start = b"0\r\nX-Long: " if endless.startswith(b"X") else b"1;"
    reader.feed(b"POST /invoke HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + start)

    for _ in range(HEAD_LIMIT // 1000 + 1):
        reader.feed(b"x" * 1000)

    assert [each.reply for each in reader.ready] == [HEAD_TOO_LARGE]


def test_a_large_body_before_a_small_request_is_no_large_head(reader: RequestReader) -> None:
    reader._door.limit = 1 << 20
    first = post(b"x" * 50_000)

    reader.feed(first[:100])
    reader.feed(first[100:] + get("/ping")[:20])
    reader.feed(get("/ping")[20:])

    assert [each[1] for each in read(reader)] == [True, True]


def test_a_body_of_exactly_the_limit_is_read(reader: RequestReader) -> None:
    reader.feed(post(b"x" * 100))
    reader.feed(post(b"x" * 101)[:-1])

    assert read(reader) == [(b"x" * 100, True), (413, False)]
    assert reader.unread


def test_a_refused_request_that_has_come_whole_is_not_waited_for(reader: RequestReader) -> None:
    reader.feed(post(b"x" * 101))

    assert read(reader) == [(413, False)]
    assert not reader.unread


def test_after_a_refusal_nothing_is_read(reader: RequestReader) -> None:
    reader.feed(post(b"x" * 101) + get("/ping") + b"nonsense")
    reader.feed(get("/ping"))

    assert [each.reply for each in reader.ready] == [reader._door.too_large]


def test_requests_before_nonsense_are_answered_first(reader: RequestReader) -> None:
    reader.feed(get("/ping") + b"nonsense")

    assert read(reader) == [(200, True), (400, False)]


@pytest.mark.parametrize("headers", [("Connection: close",), ("Connection: Upgrade", "Upgrade: h2c")])
def test_after_the_last_request_nothing_is_read(reader: RequestReader, headers: tuple[str, ...]) -> None:
    reader.feed(get("/ping", *headers) + get("/ping"))
    reader.feed(get("/ping"))

    assert read(reader) == [(200, False)]
    assert not reader.unread


def test_what_is_refused_by_its_head_is_not_waited_for(reader: RequestReader) -> None:
    reader.feed(post(b"x" * 50, target="/nowhere")[:-1])

    assert read(reader) == [(404, False)]
    assert reader.unread


def test_a_target_that_is_no_path_is_nothing(reader: RequestReader) -> None:
    reader.feed(get("*") + get("http://[/invoke") + get("x:1", method="CONNECT"))

    assert next(status for status, _ in read(reader)) == 404


def test_giving_up_is_a_refusal(reader: RequestReader) -> None:
    reader.feed(get("/ping")[:-1])

    reader.give_up()
    reader.give_up()

    assert [each.reply for each in reader.ready] == [TOO_SLOW]


@pytest.mark.parametrize(
    ("request_", "invited"),
    [
        (post(b"hello", "Expect: 100-continue"), 1),
        (post(b"hello", "expect: 100-Continue"), 1),
        (post(b"hello", "Expect: a miracle"), 0),
        (post(b"hello", "Expect: 100-continue", target="/nowhere"), 0),
        (post(b"", "Expect: 100-continue"), 0),
    ],
)
def test_a_body_is_invited_only_if_it_is_wanted(
    reader: RequestReader, invitations: list[str], request_: bytes, invited: int
) -> None:
    reader.feed(request_)

    assert len(invitations) == invited


def test_any_bytes_at_all_are_survived(reader: RequestReader) -> None:
    for pair in itertools.product(range(0, 256, 5), repeat=2):
        fresh = RequestReader(reader._door, list[None]().clear)
        fresh.feed(b"POST /invoke HTTP/1.1\r\n" + bytes(pair) + b"\r\nContent-Length: 1\r\n\r\n")
        assert len(fresh.ready) <= 1
