"""Replies of action proxies, without a connection: pieces, lengths, limits, nonsense."""

import pytest

from invoker import action_reply
from invoker.action_reply import HEAD_LIMIT, PIECE, Disconnected, ReplyReader
from invoker.entities.container import Reply
from tests.core.action_connection.peer import chunked, reply

LIMIT = 1 << 20

WHOLE = {
    "plain": reply(b'{"ok":true}'),
    "with headers of Node.js": reply(b'{"ok":true}', "Connection: keep-alive", "Keep-Alive: timeout=5"),
    "chunked": chunked(b'{"ok"', b":tr", b"ue}"),
    "chunked, with a trailer": chunked(b'{"ok":true}', trailer=b"Digest: abc\r\n"),
    "after 1xx": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(b'{"ok":true}'),
    "with bare line feeds": reply(b'{"ok":true}').replace(b"\r\n", b"\n"),
    "1.0": reply(b'{"ok":true}', "Connection: keep-alive", version="1.0"),
}


def read(*pieces: bytes, limit: int = LIMIT) -> tuple[Reply | None, ReplyReader]:
    reader = ReplyReader()
    reader.begin(limit)
    got = None
    for piece in pieces:
        assert got is None, "the reply was whole before its last piece"
        got = reader.feed(piece)
    return got, reader


def in_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE)
def test_a_reply_may_come_in_one_piece_or_byte_by_byte_or_in_any_two(sent: bytes) -> None:
    expected = Reply(200, b'{"ok":true}', 11)

    assert read(sent)[0] == expected
    assert read(*in_bytes(sent))[0] == expected
    assert all(read(sent[:cut], sent[cut:])[0] == expected for cut in range(1, len(sent)))


@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE)
def test_a_reply_with_a_length_is_never_whole_too_early(sent: bytes) -> None:
    ends = [read(sent[:cut])[1].ended() for cut in range(len(sent))]

    assert ends == [None] * len(sent)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body_needs_no_length(status: str) -> None:
    got, reader = read(f"HTTP/1.1 {status}\r\n\r\n".encode())

    assert got == Reply(int(status[:3]), b"", 0)
    assert reader.reusable


def test_a_reply_without_a_length_ends_with_the_connection() -> None:
    got, reader = read(b"HTTP/1.1 200 OK\r\n\r\n", b'{"ok"', b":true}")

    assert got is None
    assert reader.ended() == Reply(200, b'{"ok":true}', 11)
    assert not reader.reusable


@pytest.mark.parametrize("pieces", [1, 7, 1000])
@pytest.mark.parametrize(("limit", "kept"), [(0, b""), (10, b"0123456789"), (30, b"012345678901234567890123456789")])
def test_no_more_than_the_limit_is_kept_but_all_is_counted(pieces: int, limit: int, kept: bytes) -> None:
    sent = reply(b"0123456789" * 10)

    got, reader = read(
        *(sent[i : i + len(sent) // pieces + 1] for i in range(0, len(sent), len(sent) // pieces + 1)), limit=limit
    )

    assert got == Reply(200, kept, 100)
    assert got.truncated
    assert reader.reusable


def test_a_body_as_long_as_the_limit_is_not_truncated() -> None:
    got, _ = read(*in_bytes(reply(b"0123456789")), limit=10)

    assert got == Reply(200, b"0123456789", 10)
    assert not got.truncated


@pytest.mark.parametrize(("declared", "length"), [(b"", 2001), (b"Content-Length: 5000\r\n", 5000)])
def test_a_reply_without_end_is_given_up_with_the_length_that_is_known(
    monkeypatch: pytest.MonkeyPatch, declared: bytes, length: int
) -> None:
    monkeypatch.setattr(action_reply, "REPLY_LIMIT", 2000)

    got, reader = read(b"HTTP/1.1 200 OK\r\n%b\r\n" % declared, b"x" * 2000, b"x", limit=10)

    assert got == Reply(200, b"x" * 10, length)
    assert not reader.reusable


@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
    ids=["reason", "header", "header name", "trailer", "chunk extension"],
)
def test_headers_without_end_are_no_reply(start: bytes, step: int) -> None:
    flood = b"a" * (HEAD_LIMIT + 1)

    with pytest.raises(Disconnected):
        read(start, *(flood[i : i + step] for i in range(0, len(flood), step)))


def test_too_many_headers_in_one_piece_are_no_reply() -> None:
    with pytest.raises(Disconnected, match="more than 32768 bytes"):
        read(reply(b"{}", *(f"X-{i}: {'a' * 1000}" for i in range(40))))


@pytest.mark.parametrize(("size", "whole"), [(1, False), (60, False), (128, True)])
@pytest.mark.parametrize("step", [1000, PIECE + 1, 1 << 25])
def test_a_long_reply_in_tiny_chunks_is_no_reply(size: int, whole: bool, step: int) -> None:  # noqa: FBT001 (a parameter)
    """What it costs to read grows with the chunks, of which no length of the body is a bound."""
    sent = chunked(*[b"x" * size] * ((4 << 20) // (size + 6)))
    pieces = [sent[start : start + step] for start in range(0, len(sent), step)]

    if whole:
        assert read(*pieces)[0] is not None
    else:
        with pytest.raises(Disconnected, match="beside the body"):
            read(*pieces)


def test_what_follows_a_long_reply_spoils_the_connection() -> None:
    got, reader = read(reply(b"x" * PIECE) + b"x" * PIECE)

    assert got is not None
    assert not reader.reusable


def test_informational_replies_without_end_are_no_reply() -> None:
    with pytest.raises(Disconnected):
        read(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 2000)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"POST /run HTTP/1.1\r\n\r\n",
        b"\x00" * 100,
    ],
)
def test_nonsense_is_no_reply(sent: bytes) -> None:
    with pytest.raises(Disconnected):
        read(sent)

    with pytest.raises(Disconnected):
        read(*in_bytes(sent))


@pytest.mark.parametrize(
    ("sent", "reusable"),
    [
        (reply(), True),
        (reply(b"{}", status="502 Bad Gateway"), True),
        (chunked(b"{}"), True),
        (reply(b"{}", "Connection: close"), False),
        (reply(b"{}", version="1.0"), False),
        (reply(b"{}", "Connection: keep-alive", version="1.0"), False),
        (reply(b"{}") + reply(b"{}"), False),
        (reply(b"{}") + b"x", False),
    ],
    ids=["length", "error", "chunked", "close", "1.0", "1.0 keep-alive", "two replies", "rubbish behind"],
)
def test_the_connection_is_kept_only_if_nothing_is_in_doubt(sent: bytes, *, reusable: bool) -> None:
    got, reader = read(sent)

    assert got is not None
    assert (got.body, reader.reusable) in {(b"{}", reusable), (b'{"ok":true}', reusable)}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Date: today", 1.0),
        ("Keep-Alive: timeout=5", 4),
        ("keep-alive: max=100, Timeout = 72", 71),
        ("Keep-Alive: timeout=1", 0),
        ("Keep-Alive: 300", 1.0),
        ("Keep-Alive: timeout=soon", 1.0),
    ],
)
def test_the_peer_says_how_long_it_keeps_the_connection(header: str, seconds: float) -> None:
    _, reader = read(reply(b"{}", header))

    assert reader.idle_limit == seconds


def test_one_reply_after_the_other_is_read() -> None:
    _, reader = read(chunked(b"first", b", long"))

    reader.begin(LIMIT)
    got = reader.feed(reply(b"second", status="502 Bad Gateway"))

    assert got == Reply(502, b"second", 6)
    assert reader.reusable
