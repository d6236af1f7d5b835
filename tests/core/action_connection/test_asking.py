"""One request and its reply over a real loopback connection, and all that can break it."""

import asyncio
import time
from contextlib import suppress

import pytest

from invoker import action_reply
from invoker.action_connection import ActionConnection, Disconnected
from invoker.entities.container import Reply
from invoker.errors import PostTimedOut
from tests.core.action_connection.peer import (
    LONG,
    OK,
    SHORT,
    PeerConnection,
    Script,
    answers_once,
    chunked,
    connected,
    peer,
    post,
    reply,
)

pytestmark = pytest.mark.usefixtures("transport")


async def test_a_request_has_the_headers_that_proxies_need() -> None:
    async with peer(answers_once) as up, connected(up) as connection:
        got = await connection.post("/init", b'{"value":{}}', timeout=LONG, limit=100)

    [asked] = up.lines[0].asked
    assert got == OK
    assert asked.line == "POST /init HTTP/1.1"
    assert asked.body == b'{"value":{}}'
    assert asked.headers == {
        "Host": f"127.0.0.1:{up.port}" if up.port else "localhost",
        "Content-Type": "application/json",  # spec T56
        "Accept": "application/json",
        "Content-Length": "12",
    }


def test_an_ipv6_address_is_bracketed_in_the_host_header() -> None:
    assert b"\r\nHost: [::1]:8080\r\n" in ActionConnection("::1", 8080)._head("/run")


async def test_long_bodies_go_both_ways() -> None:
    body = bytes(range(256)) * 4096

    async def echoes(line: PeerConnection) -> None:
        asked = await line.request()
        await line.send(reply(asked.body))
        await line.caller_left()

    async with peer(echoes) as up, connected(up) as connection:
        got = await connection.post("/run", body, timeout=LONG, limit=len(body))

    assert got == Reply(200, body, 1 << 20)


async def test_a_reply_may_come_byte_by_byte() -> None:
    async def dribbles(line: PeerConnection) -> None:
        await line.request()
        sent = chunked(b'{"ok"', b":true}")
        await line.send(*(sent[i : i + 1] for i in range(len(sent))))
        await line.caller_left()

    async with peer(dribbles) as up, connected(up) as connection:
        assert await post(connection) == OK


async def test_a_reply_without_a_length_ends_with_the_connection() -> None:
    async def answers_and_leaves(line: PeerConnection) -> None:
        await line.answer(b'HTTP/1.1 200 OK\r\n\r\n{"ok":true}')

    async with peer(answers_and_leaves, answers_once) as up, connected(up) as connection:
        assert await post(connection) == OK
        assert await post(connection) == OK


async def test_what_is_beyond_the_limit_is_counted_and_the_connection_kept() -> None:
    async def answers_at_length(line: PeerConnection) -> None:
        await line.answer(reply(b"x" * 3_000_000))
        await line.answer(reply())
        await line.caller_left()

    async with peer(answers_at_length) as up, connected(up) as connection:
        assert await post(connection) == Reply(200, b"x" * (1 << 20), 3_000_000)
        assert await post(connection) == OK


async def test_a_reply_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_reply, "REPLY_LIMIT", 2 << 20)

    async def answers_without_end(line: PeerConnection) -> None:
        await line.answer(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                await line.send(b"x" * 65536)
        given_up.set()

    given_up = asyncio.Event()
    async with peer(answers_without_end) as up, connected(up) as connection:
        got = await post(connection)
        await given_up.wait()

    assert got.length > 2 << 20
    assert len(got.body) == 1 << 20


async def test_only_one_request_is_in_flight() -> None:
    go_on = asyncio.Event()

    async def answers_when_told(line: PeerConnection) -> None:
        await line.request()
        await go_on.wait()
        await line.send(reply())
        await line.caller_left()

    async with peer(answers_when_told) as up, connected(up) as connection, asyncio.TaskGroup() as group:
        first = group.create_task(post(connection))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="in flight"):
            await post(connection)
        go_on.set()

    assert first.result() == OK


@pytest.mark.parametrize("how", ["EOF", "reset"])
async def test_a_connection_that_ends_before_the_reply_is_whole_is_an_error(how: str) -> None:
    sent = reply()

    def leaves_after(count: int) -> Script:
        async def leave(line: PeerConnection) -> None:
            await line.answer(sent[:count])
            if how == "reset":
                line.reset()

        return leave

    async with peer(*map(leaves_after, range(len(sent)))) as up, connected(up) as connection:
        for _ in range(len(sent)):
            with pytest.raises(Disconnected):
                await post(connection)


async def test_the_end_of_a_connection_says_when_it_was() -> None:
    async def leaves(line: PeerConnection) -> None:
        await line.request()

    async with peer(leaves) as up, connected(up) as connection:
        before = time.monotonic()
        with pytest.raises(Disconnected) as caught:
            await post(connection)

        assert before <= caught.value.at <= time.monotonic()


async def test_a_peer_that_leaves_without_reading_the_request_is_an_error_and_nothing_is_sent_twice() -> None:
    async def leaves(line: PeerConnection) -> None:
        line.reset()

    async with peer(leaves) as up, connected(up) as connection:
        with pytest.raises(Disconnected):
            await connection.post("/run", b"x" * 10_000_000, timeout=LONG, limit=100)

    assert len(up.lines) == 1  # spec T54


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", reply(b"{}", "X: " + "a" * 40_000)], ids=["nonsense", "headers"])
async def test_what_is_no_reply_is_an_error_and_ends_the_connection(sent: bytes) -> None:
    async def answers_nonsense(line: PeerConnection) -> None:
        await line.answer(sent)
        await line.caller_left()

    async with peer(answers_nonsense, answers_once) as up, connected(up) as connection:
        with pytest.raises(Disconnected):
            await post(connection)
        assert await post(connection) == OK


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", reply()[:-1]], ids=["none", "head", "body"])
async def test_the_deadline_covers_the_reply_to_its_last_byte(sent: bytes) -> None:
    async def stops(line: PeerConnection) -> None:
        await line.answer(sent)
        await line.caller_left()

    async with peer(stops, answers_once) as up, connected(up) as connection:
        with pytest.raises(PostTimedOut) as caught:
            await post(connection, timeout=SHORT)
        assert caught.value.seconds == SHORT
        assert await post(connection) == OK


async def test_the_deadline_covers_a_request_that_nobody_reads() -> None:
    async def reads_nothing(line: PeerConnection) -> None:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await timed_out.wait()

    timed_out = asyncio.Event()
    async with peer(reads_nothing) as up, connected(up) as connection:
        with pytest.raises(PostTimedOut):
            await connection.post("/run", b"x" * 50_000_000, timeout=SHORT, limit=100)
        timed_out.set()


async def test_a_cancelled_request_closes_the_connection() -> None:
    async def cancels(line: PeerConnection) -> None:
        await line.request()
        task.cancel()
        assert await line.caller_left() == b""

    async with peer(cancels, answers_once) as up, connected(up) as connection:
        task = asyncio.create_task(post(connection))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await post(connection) == OK


async def test_a_peer_that_answers_before_it_has_read_the_request_is_heard_but_not_asked_again() -> None:
    async def refuses_early(line: PeerConnection) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.send(reply(b"{}", status="413 Too Large"))
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await heard.wait()

    heard = asyncio.Event()
    async with peer(refuses_early, answers_once) as up, connected(up) as connection:
        got = await connection.post("/init", b"x" * 50_000_000, timeout=LONG, limit=100)
        heard.set()
        assert got == Reply(413, b"{}", 2)
        assert await post(connection) == OK
