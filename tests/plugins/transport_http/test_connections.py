"""Connections: how long they are kept, what is sent on them at once, callers that leave, and what is left of them."""

import asyncio
import errno
import gc
import json
import logging
import re
import socket
import struct
import weakref
from asyncio import sslproto
from collections.abc import Iterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import pytest

from invoker.config import LimitsSettings, NodeSettings, PoolSettings, Seconds, Settings, node_of
from invoker.testing.builders import an_id, an_outcome
from invoker.testing.containers import PATIENCE
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker.testing.transport import a_message
from invoker.wire.acknowledgement import Acknowledger
from invoker_http.connection import Connections, HttpConnection
from invoker_http.endpoints import MessageEndpoint
from invoker_http.requests import RequestReader
from invoker_http.responses import Refusals
from invoker_http.transport import HttpTransport, opened
from tests.plugins.transport_http.caller import (
    Caller,
    Got,
    calling,
    connected,
    get,
    http,
    listening,
    one_caller,
    post,
    settled,
)
from tests.plugins.transport_http.certificates import Certificates

LIMIT = LimitsSettings().message
HUGE = 8_000_000
"""Bytes of an answer; more than a kernel keeps for a reluctant reader: 4 MB."""


def a_huge_answer() -> FakeIntake:
    intake = FakeIntake()
    intake.outcomes.append(an_outcome(b'"' + b"x" * HUGE + b'"'))
    return intake


def reset(caller: Caller) -> None:
    """Be gone without a good-bye, as a machine that loses power."""
    same: socket.socket = caller.writer.get_extra_info("socket")
    same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.writer.transport.abort()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno > logging.INFO]


# --- what is sent ahead ----------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order_and_one_at_a_time() -> None:
    intake = FakeIntake()
    ids = [an_id() for _ in range(5)]

    async with one_caller(intake) as caller:
        with intake.held():
            await caller.send(b"".join(post(a_message(each)) for each in ids))
            await caller.head()
            admitted = intake.count("admitted")
        first = await caller.body(Got(200, {"Transfer-Encoding": "chunked"}, b"", b""))
        others = [(await caller.response()).body for _ in ids[1:]]

    assert admitted == 1
    assert [json.loads(each)["response"]["activationId"] for each in (first, *others)] == ids


async def test_many_pipelined_requests_are_all_answered() -> None:
    async with one_caller() as caller:
        await caller.send(*[get("/ping") * 100 for _ in range(50)])
        got = [(await caller.response()).body for _ in range(5000)]

    assert got == [b"pong"] * 5000


async def test_others_have_their_turn_between_pipelined_requests() -> None:
    async with listening(FakeIntake()) as url, calling(url) as greedy, calling(url) as other:
        await other.ask(get("/ping"))
        await greedy.send(get("/ping") * 5000)
        await other.ask(get("/ping"))
        ahead = len(re.findall(b"HTTP/1.1 200", bytes(greedy.reader._buffer)))  # type: ignore[attr-defined]
        await greedy.reader.readexactly(1)

    assert ahead < 1000


async def test_what_is_sent_ahead_waits_with_the_caller() -> None:
    intake = FakeIntake()
    count = 32  # far more than the system's buffers hold

    async with one_caller(intake) as caller, asyncio.TaskGroup() as tasks:
        with intake.held():
            sending = tasks.create_task(caller.send(*[post(a_message(size=LIMIT)) for _ in range(count)]))
            await intake.seen("accepted")
            await settled(caller.writer.transport.get_write_buffer_size)
            sent_at_once, kept = sending.done(), intake.reserved
        got = [await caller.response() for _ in range(count)]

    assert not sent_at_once
    assert 0 < kept <= 1 << 19  # what is read at once
    assert intake.reserved == 0
    assert [each.status for each in got] == [HTTPStatus.OK] * count


async def test_an_invitation_does_not_come_between_the_parts_of_an_answer() -> None:
    intake = FakeIntake()
    message = a_message()

    async with listening(intake) as url, calling(url) as caller:
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


# --- time ------------------------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed() -> None:
    async with (
        listening(FakeIntake(), http(keep_alive=Seconds(0.05))) as url,
        calling(url) as silent,
        calling(url) as used,
    ):
        await used.ask(post(a_message()))

        assert await silent.rest() == b""
        assert await used.rest() == b""


async def test_a_connection_is_not_closed_while_its_function_runs() -> None:
    intake = FakeIntake()
    brief = http(keep_alive=Seconds(0.05), body_timeout=Seconds(0.05))

    async with listening(intake, brief) as url, calling(url) as busy:
        with intake.held():
            await busy.send(post(a_message()))
            head = await busy.head()
            for _ in range(3):
                async with calling(url) as idle:  # whose end shows that the time is over
                    await idle.rest()
        body = await busy.body(head)

    assert json.loads(body)["isSystemError"] is False


# --- callers that leave, and callers that stay and don't read --------------------------------------------------------


async def test_a_caller_that_leaves_in_the_middle_of_its_answer_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    intake = a_huge_answer()

    async with listening(intake) as url:
        async with calling(url, reluctant=True) as caller:
            await caller.send(post(a_message()))
            await caller.reader.readexactly(1 << 16)
            reset(caller)
        await intake.seen("completed")
        async with calling(url) as other:
            after = await other.ask(post(a_message()))

    assert after.status == HTTPStatus.OK
    assert not complaints(caplog)


async def test_a_caller_that_leaves_loses_nothing_but_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    intake = FakeIntake()
    lost = an_id()

    async with listening(intake) as url:
        with intake.held():
            async with calling(url) as caller:
                await caller.send(post(a_message(lost)))
                await caller.head()
                reset(caller)
            async with calling(url) as other:  # the loop has come to know of the end when this one is served
                await other.ask(get("/ping"))
        await intake.seen("completed")

    assert intake.story(lost) == ["admitted", "accepted", "completed"]
    assert not complaints(caplog)


async def test_a_caller_that_sends_half_a_request_and_leaves_is_forgotten() -> None:
    intake = FakeIntake()

    async with listening(intake) as url:
        for cut in (10, 100, 400):
            async with calling(url) as caller:
                await caller.send(post(a_message())[:cut])
        async with calling(url) as caller:
            await caller.ask(post(a_message()))

    assert [event.what for event in intake.events] == ["admitted", "accepted", "completed"]


@pytest.mark.parametrize("requests", [1, 3])
async def test_a_caller_that_only_stops_sending_gets_its_answers(requests: int) -> None:
    intake = FakeIntake()

    async with one_caller(intake) as caller:
        with intake.held():
            await caller.send(post(a_message()) * requests)
            caller.writer.write_eof()
            await caller.head()
        rest = await caller.rest()

    assert rest.count(b"\r\n0\r\n\r\n") == requests


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("patience", "flush"), [(0.05, 60.0), (60.0, 0.05)])
async def test_a_caller_that_does_not_read_its_answer_holds_nobody_up(
    patience: float, flush: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_http.connection.FLUSH", flush)
    intake = a_huge_answer()

    async with AsyncExitStack() as stack:
        async with listening(intake, http(body_timeout=Seconds(patience))) as url:
            caller = await stack.enter_async_context(calling(url, reluctant=True))
            await caller.send(post(a_message()))
            await intake.seen("accepted")
        rest = await caller.rest()

    assert rest.startswith(b"HTTP/1.1 200 OK")
    assert not rest.endswith(b"\r\n0\r\n\r\n")


async def test_an_answer_is_told_when_its_caller_has_taken_it_and_the_next_request_waits() -> None:
    intake = a_huge_answer()

    async with one_caller(intake, reluctant=True) as caller:
        await caller.send(post(a_message()) * 2)
        await caller.reader.readuntil(b"\r\n\r\n")
        await settled(caller.writer.transport.get_write_buffer_size)
        before = [event.what for event in intake.events]
        large = await caller.body(Got(200, {"Transfer-Encoding": "chunked"}, b"", b""))
        small = await caller.response()

    assert before == ["admitted", "accepted"]
    assert len(json.loads(large)["response"]["response"]["result"]) == HUGE
    assert small.status == HTTPStatus.OK


class Written(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def test_nothing_is_answered_while_a_caller_takes_nothing() -> None:
    written = Written()
    acknowledger = Acknowledger(node_of(NodeSettings(), PoolSettings()), spelling="both", compat="openwhisk")
    endpoint = MessageEndpoint(FakeIntake(), lambda: False, limit=LIMIT)
    refusals = Refusals(asyncio.get_running_loop().time)
    owner = Connections(endpoint, FakeIntake(), acknowledger, http(), refusals, most=1)
    connection = HttpConnection(owner)
    connection.connection_made(written)

    connection.pause_writing()
    connection.data_received(get("/ping") * 3)
    await settled(lambda: len(written.data))
    before = written.data
    connection.resume_writing()
    await settled(lambda: len(written.data))
    connection.connection_lost(None)

    assert before == b""
    assert written.data.count(b"pong") == 3


async def test_an_answer_that_the_core_gives_up_is_cut() -> None:
    intake = a_huge_answer()

    async with one_caller(intake, reluctant=True) as caller:
        await caller.send(post(a_message()))
        await caller.reader.readuntil(b"\r\n\r\n")
        await settled(caller.writer.transport.get_write_buffer_size)
        intake.give_up()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await caller.body(Got(200, {"Transfer-Encoding": "chunked"}, b"", b""))

    assert not intake.count("completed")


@pytest.fixture
def remains(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[object]]]:
    """What was made for connections, while nothing is collected that refers to itself."""
    made: list[weakref.ref[object]] = []
    for kind in (HttpConnection, RequestReader):
        real = kind.__init__

        def note(self: Any, *arguments: Any, real: Any = real, **options: Any) -> None:
            made.append(weakref.ref(self))
            real(self, *arguments, **options)

        monkeypatch.setattr(kind, "__init__", note)
    gc.disable()
    yield made
    gc.enable()


async def gone(transport: HttpTransport) -> None:
    """Wait until all connections are."""
    while gauge(transport):
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)


def gauge(transport: HttpTransport) -> float:
    ((_, value),) = transport.metrics()[0].samples
    return value


@pytest.mark.parametrize("encrypted", [False, True])
async def test_nothing_is_left_of_a_connection_that_is_gone(
    certificates: Certificates, remains: list[weakref.ref[object]], *, encrypted: bool
) -> None:
    """Cycles would be left until the collector comes, which it seldom does: an aborted upload for each."""
    tls = certificates.client(certified=False) if encrypted else None
    settings = http(tls=certificates.settings(ask_callers=False)) if encrypted else http()

    intake = FakeIntake()

    async with opened(Settings.of(settings), intake, FakeOperations()) as transport:
        for cut in (400, 600_000, None):  # a half head, a half body, a whole request
            caller = await connected(transport.url, tls)
            await caller.send(post(a_message(size=LIMIT))[:cut])
            if cut is None:
                await caller.response()
            reset(caller)
            await caller.leave()
        await gone(transport)
        left = [one() for one in remains]

    assert left == [None] * 6
    assert intake.reserved == 0


@pytest.mark.parametrize("headers", [(), ("Connection: close",)])
async def test_nothing_is_left_of_a_connection_whose_answer_comes_too_late(
    remains: list[weakref.ref[object]], headers: tuple[str, ...]
) -> None:
    intake = FakeIntake()

    async with opened(Settings.of(http()), intake, FakeOperations()) as transport:
        with intake.held():
            async with calling(transport.url) as caller:
                await caller.send(post(a_message(), *headers))
                await caller.head()
                reset(caller)
            await gone(transport)
        await intake.seen("completed")
        await gone(transport)
        left = [one() for one in remains]

    assert left == [None] * 2


async def test_an_upload_that_is_broken_off_is_let_go_though_an_earlier_request_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers: list[RequestReader] = []
    monkeypatch.setattr(
        "invoker_http.connection.RequestReader", lambda each: readers.append(RequestReader(each)) or readers[0]
    )
    intake = FakeIntake()

    async with opened(Settings.of(http()), intake, FakeOperations()) as transport:
        with intake.held():
            async with calling(transport.url) as caller:
                await caller.send(post(a_message()))
                await caller.head()
                await caller.send(post(a_message(size=LIMIT))[:10_000])
                while not intake.reserved:
                    await asyncio.sleep(0)
                reset(caller)
            await gone(transport)
            kept = readers[0].kept, intake.reserved

    assert kept == (0, 0)


# --- coming in -------------------------------------------------------------------------------------------------------


async def test_who_comes_while_there_is_no_room_is_served_later_and_operators_know(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError(errno.ECONNABORTED, "left")]
    real = socket.socket.accept
    faults = []

    def accept(self: socket.socket) -> tuple[socket.socket, Any]:
        faults.append(list(transport.faults()))
        if refusals:
            asyncio.get_running_loop().call_soon(lambda: faults.append(list(transport.faults())))
            raise refusals.pop()
        return real(self)

    monkeypatch.setattr("invoker_http.listener.RELIEF", 0.01)
    async with opened(Settings.of(http()), FakeIntake(), FakeOperations()) as transport:
        monkeypatch.setattr(socket.socket, "accept", accept)
        async with calling(transport.url) as caller:
            got = await caller.ask(post(a_message()))
        after = transport.faults()

    assert (got.status, refusals) == (HTTPStatus.OK, [])
    assert ["http: no connection can be accepted: Too many open files"] in faults
    assert not after
    assert "no connection can be accepted, next try in 0.01 s: Too many open files" in caplog.messages


async def test_no_room_does_not_hinder_a_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refused = asyncio.Event()

    def accept(_: socket.socket) -> None:
        refused.set()
        raise OSError(errno.EMFILE, "Too many open files")

    async with listening(FakeIntake(), http(bind=":0", allow_anonymous=True)) as url:  # on two sockets
        monkeypatch.setattr(socket.socket, "accept", accept)
        caller = socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=PATIENCE)
        await refused.wait()
    with caller, pytest.raises(ConnectionError):
        caller.recv(1)

    assert "no connection can be accepted, next try in 1 s: Too many open files" in caplog.messages


async def test_connections_and_refusals_are_counted() -> None:
    asked = (get("/ping"), get("/nowhere"), get("/nowhere"), post(b"{}"), post(a_message()))

    async with (
        opened(Settings.of(http()), FakeIntake(), FakeOperations()) as transport,
        calling(transport.url) as caller,
    ):
        for request in asked:
            await caller.ask(request)
        connections, refused, _ = transport.metrics()

    found = {(labels["status"], labels["reason"]): count for labels, count in refused.samples if count}
    assert (connections.name, connections.samples) == ("gauge_http_connections", [({}, 1)])
    assert refused.name == "counter_http_requests_refused"
    assert found == {("400", "malformed"): 1, ("404", "path"): 2}


async def test_the_end_is_left_alone_where_tls_can_not_be_closed_again(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Python 3.11.2, which is Debian 12's, has lost the protocol by then."""
    real = sslproto._SSLProtocolTransport.abort

    def abort(self: Any) -> None:
        self._ssl_protocol._transport.abort  # noqa: B018 (raises once the connection is lost)
        real(self)

    monkeypatch.setattr(sslproto._SSLProtocolTransport, "abort", abort)
    brief = {"body_timeout": Seconds(0.05), "keep_alive": Seconds(0.05)}
    settings = http(tls=certificates.settings(ask_callers=False), **brief)
    intake, tls = FakeIntake(), certificates.client(certified=False)

    async with opened(Settings.of(settings), intake, FakeOperations()) as transport:
        with intake.held():
            async with calling(transport.url, tls) as caller:
                await caller.send(post(a_message(), "Connection: close"))
                await caller.head()
                reset(caller)
            await gone(transport)
        await intake.seen("completed")
        for _ in range(3):
            async with calling(transport.url, tls) as idle:  # whose end shows that the time is over
                await idle.rest()

    assert not complaints(caplog)
