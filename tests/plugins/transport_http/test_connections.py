"""Connections: how long they are kept, what is sent on them at once, and callers that leave."""

import asyncio
import errno
import json
import logging
import socket
import struct
from asyncio import sslproto
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import pytest

from invoker.config import LimitsSettings, Seconds
from invoker.testing.builders import an_id, an_outcome
from invoker.testing.containers import PATIENCE
from invoker.testing.intake import FakeIntake
from invoker.testing.transport import GLANCE, a_message
from tests.plugins.transport_http.caller import Caller, Got, calling, get, http, listening, post
from tests.plugins.transport_http.certificates import Certificates

LIMIT = LimitsSettings().message


async def test_an_old_caller_reads_to_the_end_of_the_connection(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(a_message(), "Connection: keep-alive", version="1.0"))

    assert got.head == b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    assert "response" in json.loads(got.body)


async def test_a_caller_that_wants_its_connection_closed_has_it_closed(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(a_message(), "Connection: close"))
        rest = await caller.rest()

    assert (got.status, got.headers["Connection"], rest) == (HTTPStatus.OK, "close", b"")


async def test_pipelined_requests_are_answered_in_order_and_one_at_a_time(listener: str) -> None:
    intake = FakeIntake()
    ids = [an_id() for _ in range(5)]

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        with intake.held():
            await caller.send(b"".join(post(a_message(each)) for each in ids))
            await caller.head()
            admitted = intake.count("admitted")
        first = await caller.body(Got(200, {"Transfer-Encoding": "chunked"}, b"", b""))
        others = [(await caller.response()).body for _ in ids[1:]]

    assert admitted == 1
    assert [json.loads(each)["response"]["activationId"] for each in (first, *others)] == ids


async def test_many_pipelined_requests_are_all_answered(listener: str) -> None:
    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        await caller.send(*[get("/ping") * 100 for _ in range(20)])
        got = [(await caller.response()).body for _ in range(2000)]

    assert got == [b"pong"] * 2000


async def test_what_is_sent_ahead_waits_with_the_caller(listener: str) -> None:
    intake = FakeIntake()
    count = 32  # far more than the system's buffers hold

    async with (
        listening(intake, http(listener=listener)) as url,
        calling(url) as caller,
        asyncio.TaskGroup() as tasks,
    ):
        with intake.held():
            sending = tasks.create_task(caller.send(*[post(a_message(size=LIMIT)) for _ in range(count)]))
            await intake.seen("accepted")
            await asyncio.wait((sending,), timeout=GLANCE)
            sent_at_once = sending.done()
        got = [await caller.response() for _ in range(count)]

    assert not sent_at_once
    assert [each.status for each in got] == [HTTPStatus.OK] * count


async def test_an_idle_connection_is_closed(listener: str) -> None:
    async with (
        listening(FakeIntake(), http(listener=listener, keep_alive=Seconds(0.05))) as url,
        calling(url) as silent,
        calling(url) as used,
    ):
        await used.ask(post(a_message()))

        assert await silent.rest() == b""
        assert await used.rest() == b""


async def test_a_connection_is_not_closed_while_its_function_runs(listener: str) -> None:
    intake = FakeIntake()
    brief = {"keep_alive": Seconds(0.05), "body_timeout": Seconds(0.05)}

    async with (
        listening(intake, http(listener=listener, **brief)) as url,
        calling(url) as busy,
    ):
        with intake.held():
            await busy.send(post(a_message()))
            head = await busy.head()
            for _ in range(3):
                async with calling(url) as idle:  # whose end shows that the time is over
                    await idle.rest()
        body = await busy.body(head)

    assert json.loads(body)["isSystemError"] is False


async def test_a_slow_head_is_given_up() -> None:
    async with (
        listening(FakeIntake(), http(listener="httptools", body_timeout=Seconds(0.05))) as url,
        calling(url) as caller,
    ):
        await caller.ask(get("/ping"))
        got = await caller.ask(get("/ping")[:-1])

    assert got.status == HTTPStatus.REQUEST_TIMEOUT


async def test_a_caller_that_leaves_in_the_middle_of_its_answer_disturbs_nobody(
    listener: str, caplog: pytest.LogCaptureFixture
) -> None:
    intake = FakeIntake()
    intake.outcomes.append(an_outcome(b'"' + b"x" * 60_000_000 + b'"'))

    async with listening(intake, http(listener=listener)) as url:
        async with calling(url, limit=1 << 10) as caller:
            await caller.send(post(a_message()))
            await caller.head()
            await intake.seen("completed")
            reset(caller)
        async with calling(url) as other:
            after = await other.ask(post(a_message()))

    assert after.status == HTTPStatus.OK
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []


def reset(caller: Caller) -> None:
    """Be gone without a good-bye, as a machine that loses power."""
    same: socket.socket = caller.writer.get_extra_info("socket")
    same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.writer.transport.abort()


async def test_a_caller_that_leaves_loses_nothing_but_its_answer(
    listener: str, caplog: pytest.LogCaptureFixture
) -> None:
    intake = FakeIntake()
    lost = an_id()

    async with listening(intake, http(listener=listener)) as url:
        with caplog.at_level(logging.INFO, "invoker.http"), intake.held():
            async with calling(url) as caller:
                await caller.send(post(a_message(lost)))
                await caller.head()
                reset(caller)
            async with calling(url) as other:  # the loop has come to know of the end when this one is served
                await other.ask(get("/ping"))
        await intake.seen("completed")

    assert intake.story(lost) == ["admitted", "accepted", "completed"]
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_caller_that_sends_half_a_request_and_leaves_is_forgotten(listener: str) -> None:
    intake = FakeIntake()

    async with listening(intake, http(listener=listener)) as url:
        for cut in (10, 100, 400):
            async with calling(url) as caller:
                await caller.send(post(a_message())[:cut])
        async with calling(url) as caller:
            await caller.ask(post(a_message()))

    assert intake.count("admitted") == 1
    assert intake.count("malformed") == 0


async def test_a_caller_that_only_stops_sending_gets_its_answer() -> None:
    intake = FakeIntake()

    async with listening(intake, http(listener="httptools")) as url, calling(url) as caller:
        with intake.held():
            await caller.send(post(a_message()))
            caller.writer.write_eof()
            await caller.head()
        rest = await caller.rest()

    assert rest.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("patience", "flush"), [(0.05, 60.0), (60.0, 0.05)])
async def test_a_caller_that_does_not_read_its_answer_holds_nobody_up(
    listener: str, patience: float, flush: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_http.listener.FLUSH", flush)
    monkeypatch.setattr("invoker_http.server.FLUSH", flush)
    intake = FakeIntake()
    intake.outcomes.append(an_outcome(b'"' + b"x" * 60_000_000 + b'"'))

    async with AsyncExitStack() as stack:
        async with listening(intake, http(listener=listener, body_timeout=Seconds(patience))) as url:
            caller = await stack.enter_async_context(calling(url, limit=1 << 10))
            await caller.send(post(a_message()))
            await intake.seen("completed")
        rest = await caller.rest()

    assert rest.startswith(b"HTTP/1.1 200 OK")
    assert not rest.endswith(b"\r\n0\r\n\r\n")


async def test_the_next_request_waits_until_an_answer_is_read(listener: str) -> None:
    intake = FakeIntake()
    size = 60_000_000  # more than the 32 MB that a kernel may keep for a reader
    intake.outcomes.append(an_outcome(b'"' + b"x" * size + b'"'))

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        await caller.send(post(a_message()) * 2)
        await intake.seen("completed")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(intake.seen("admitted", 2), GLANCE)
        large = await caller.response()
        small = await caller.response()

    assert len(json.loads(large.body)["response"]["response"]["result"]) == size
    assert small.status == HTTPStatus.OK


async def test_an_invitation_does_not_come_between_the_parts_of_an_answer(listener: str) -> None:
    intake = FakeIntake()
    message = a_message()

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        with intake.held():
            await caller.send(post(a_message()))
            first = await caller.head()
            await caller.send(post(message, "Expect: 100-continue").removesuffix(message))
            async with calling(url) as other:  # when this one is served, the other's head has been read
                await other.ask(get("/ping"))
        body = await caller.body(first)
        invitation = await caller.head()
        second = await caller.ask(message)

    assert json.loads(body)["isSystemError"] is False
    assert [invitation.status, second.status] == [HTTPStatus.CONTINUE, HTTPStatus.OK]


async def test_who_comes_while_there_is_no_room_is_served_later(
    listener: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError(errno.ECONNABORTED, "left")]
    real = socket.socket.accept

    def accept(self: socket.socket) -> tuple[socket.socket, Any]:
        if refusals:
            raise refusals.pop()
        return real(self)

    monkeypatch.setattr("invoker_http.accepting.RELIEF", 0.01)
    async with listening(FakeIntake(), http(listener=listener)) as url:
        monkeypatch.setattr(socket.socket, "accept", accept)
        async with calling(url) as caller:
            got = await caller.ask(post(a_message()))

    assert (got.status, refusals) == (HTTPStatus.OK, [])
    assert "no connection can be accepted, next try in 0.01 s: Too many open files" in caplog.messages


async def test_no_room_does_not_hinder_a_stop(
    listener: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = asyncio.Event()

    def accept(_: socket.socket) -> None:
        refused.set()
        raise OSError(errno.EMFILE, "Too many open files")

    settings = http(listener=listener, bind=":0", allow_anonymous=True)  # on two sockets
    async with listening(FakeIntake(), settings) as url:
        monkeypatch.setattr(socket.socket, "accept", accept)
        caller = socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=PATIENCE)
        await refused.wait()
    with caller, pytest.raises(ConnectionError):
        caller.recv(1)

    assert "no connection can be accepted, next try in 1 s: Too many open files" in caplog.messages


async def test_the_end_is_left_alone_where_tls_can_not_be_closed_again(
    listener: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11.2, which is Debian 12's, has lost the protocol by then."""
    real = sslproto._SSLProtocolTransport.abort

    def abort(self: Any) -> None:
        self._ssl_protocol._transport.abort  # noqa: B018 (raises once the connection is lost)
        real(self)

    monkeypatch.setattr(sslproto._SSLProtocolTransport, "abort", abort)
    settings = http(listener=listener, tls=certificates.settings(ask_callers=False))
    async with listening(FakeIntake(), settings) as url, calling(url, certificates.client(certified=False)) as caller:
        got = await caller.ask(post(a_message()))

    assert got.status == HTTPStatus.OK
