"""Nobody can stall the invoker, rob it of memory or descriptors, or have a browser speak for them."""

import asyncio
import gc
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import pytest

from invoker.config import LimitsSettings, Seconds, Secret, Settings
from invoker.contracts import Admitted
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker.testing.transport import a_message
from invoker_http.connection import HttpConnection
from invoker_http.endpoints import MessageEndpoint
from invoker_http.requests import RequestReader
from invoker_http.tls import ServerTls
from invoker_http.transport import HttpTransport, most_connections, opened
from tests.core.loop_watch import never_held
from tests.plugins.transport_http.caller import Caller, calling, connected, get, http, one_caller, post, settled
from tests.plugins.transport_http.certificates import Certificates, issued

T = TypeVar("T")

REFUSED, HANDSHAKES = 1, 2
"""Which of the metrics."""
LIMIT = LimitsSettings().message
TINY = b"GET / HTTP/1.1\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 3900
"""Without an end, and below the limit."""


def counted(transport: HttpTransport, metric: int) -> dict[str, float]:
    """Return what a metric has counted, by reason."""
    return {labels["reason"]: count for labels, count in transport.metrics()[metric].samples if count}


@asynccontextmanager
async def serving(intake: FakeIntake | None = None, **changes: Any) -> AsyncIterator[HttpTransport]:
    """Open the transport with changed settings."""
    async with opened(Settings.of(http(**changes)), intake or FakeIntake(), FakeOperations()) as transport:
        yield transport


async def until(true: Callable[[], T]) -> T:
    """Have the loop turn until something is true; return it."""
    while not (found := true()):
        await asyncio.sleep(0)
    return found


# --- the loop's time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("crowd", "sent"), [(50, TINY * 20_000), (400, HEAD)], ids=["requests", "headers"])
async def test_a_crowd_that_sends_much_at_once_holds_up_nobody(crowd: int, sent: bytes) -> None:
    async with serving() as transport, AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        callers = [await stack.enter_async_context(calling(transport.url)) for _ in range(crowd)]
        other = await stack.enter_async_context(calling(transport.url))
        await other.ask(get("/ping"))

        async with never_held():
            for caller in callers:
                caller.writer.write(sent)
            reading = [tasks.create_task(drained(caller)) for caller in callers]
            for _ in range(5):
                await other.ask(get("/ping"))
            ahead = counted(transport, REFUSED).get("path", 0)
        for task in reading:
            task.cancel()

    assert ahead < crowd * 20_000 / 10


async def drained(caller: Caller) -> None:
    """Read on and on."""
    while await caller.reader.read(1 << 16):
        pass


# --- memory ----------------------------------------------------------------------------------------------------------


class Careful(FakeIntake):
    """Notes what is counted of a message when it is asked to take it."""

    def admit(self, body: bytes, **options: Any) -> Admitted:
        self.note(f"{self.reserved} of {len(body)}")
        return super().admit(body, **options)


async def test_what_is_on_its_way_is_counted_until_it_is_taken() -> None:
    intake, message = Careful(), post(a_message(size=LIMIT))

    async with one_caller(intake) as caller:
        await caller.send(message[:600_000])
        await until(lambda: intake.reserved > 590_000)
        got = await caller.ask(message[600_000:])

    assert got.status == HTTPStatus.OK
    assert intake.count(f"0 of {LIMIT}") == 1
    assert intake.reserved == 0


async def test_there_must_be_room_for_what_is_on_its_way() -> None:
    intake = FakeIntake()

    async with one_caller(intake) as caller:
        with intake.full(retry_after=7):
            got = await caller.ask(post(a_message(size=LIMIT))[:-1])
            rest = await caller.rest()

    assert (got.status, got.headers["Retry-After"], rest) == (HTTPStatus.SERVICE_UNAVAILABLE, "7", b"")
    assert (intake.reserved, intake.admitted) == (0, [])


async def test_uploads_that_are_broken_off_leave_nothing_behind() -> None:
    """150 of them took 460 MB, and gave nothing back."""
    intake, process = FakeIntake(), psutil.Process()
    gc.disable()
    try:
        async with serving(intake) as transport:
            before = process.memory_info().rss
            for _ in range(60):
                caller = await connected(transport.url)
                await caller.send(post(a_message(size=LIMIT))[:-10])
                await until(lambda: intake.reserved > LIMIT - 1000)
                caller.writer.transport.abort()
                await until(lambda: not intake.reserved)
            grown = process.memory_info().rss - before
    finally:
        gc.enable()

    assert grown < 20 << 20


class Starved(FakeIntake):
    """Of an invoker that has no memory left."""

    def admit(self, body: bytes, **_: Any) -> Admitted:
        raise MemoryError


def starve(*_: object, **__: object) -> None:
    raise MemoryError


@pytest.mark.parametrize("where", ["on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"])
async def test_without_memory_for_a_request_it_may_be_tried_again(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestReader, where, starve)

    async with one_caller() as caller:
        got = await caller.ask(post(a_message()))

    assert (got.status, got.headers["Connection"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "close")


async def test_without_memory_for_a_message_it_may_be_tried_again() -> None:
    async with one_caller(Starved()) as caller:
        got = await caller.ask(post(a_message()))

    assert (got.status, got.headers["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "1")


async def test_an_error_of_ours_in_a_head_is_no_bad_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(MessageEndpoint, "answer", lambda *_: {}["nothing"])

    async with one_caller() as caller:
        got = await caller.ask(get("/ping"))

    assert got.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "KeyError" in caplog.text


# --- descriptors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("files", "most"), [(1024, 512), (1 << 20, 10_000), (resource.RLIM_INFINITY, 10_000), (1, 1)])
def test_half_of_the_descriptors_are_for_others(files: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))

    assert most_connections() == most


async def test_who_is_too_many_is_told_so_and_may_come_later(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(max_connections=2) as transport, AsyncExitStack() as stack:
        for _ in range(2):
            first = await stack.enter_async_context(calling(transport.url))
            await first.ask(post(a_message()))
        surplus = [await stack.enter_async_context(calling(transport.url)) for _ in range(3)]
        got = [await one.ask(post(a_message())) for one in surplus]
        rest = await surplus[0].rest()
        kept = await first.ask(get("/ping"))
        await first.leave()
        for one in surplus:
            await one.leave()
        await until(lambda: transport.metrics()[0].samples == [({}, 1)])
        later = await stack.enter_async_context(calling(transport.url))
        after = await later.ask(get("/ping"))

    assert [one.status for one in got] == [HTTPStatus.SERVICE_UNAVAILABLE] * 3
    assert (got[0].headers["Connection"], got[0].headers["Retry-After"], rest) == ("close", "1", b"")
    assert [kept.status, after.status] == [HTTPStatus.OK] * 2
    assert len([text for text in caplog.messages if "has all the connections it may have" in text]) == 1


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTT", get("/ping")])
async def test_who_sends_no_message_makes_room_for_others(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.connection.LINGER", 0.0)

    async with serving(max_connections=1) as transport, calling(transport.url) as slow:
        await slow.send(sent)
        async with calling(transport.url) as other:
            got = await other.ask(post(a_message()))
        rest = await slow.rest()

    assert got.status == HTTPStatus.OK
    assert rest == b"" or b" 503 " in rest or rest.endswith(b"pong")


async def test_an_unfinished_handshake_makes_room_for_others(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_http.listener.LINGER", 1e-9)
    settings = {"tls": certificates.settings(ask_callers=False), "max_connections": 1}

    async with serving(**settings) as transport, calling(transport.url.replace("https", "http")):
        coming = await until(lambda: transport.acceptors[0]._coming)
        await until(lambda: asyncio.get_running_loop().time() > max(coming.values()))
        async with calling(transport.url, certificates.client(certified=False)) as other:
            got = await other.ask(post(a_message()))

    assert got.status == HTTPStatus.OK


async def test_more_than_can_be_told_wait_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.listener.SURPLUS", 0)
    monkeypatch.setattr("invoker_http.listener.RELIEF", 0.01)

    async with serving(max_connections=1) as transport, calling(transport.url) as first:
        await first.ask(post(a_message()))
        async with calling(transport.url) as other:
            await other.send(post(a_message()))
            faults = await until(transport.faults)
            await first.leave()
            got = await other.response()

    assert faults == ("http: no connection can be accepted: there are 1 connections already (http.max_connections)",)
    assert got.status == HTTPStatus.OK


@pytest.mark.timeout(20)
@pytest.mark.parametrize("sent", [b"", b"\r\n"])
async def test_a_caller_that_has_asked_for_nothing_is_not_kept_for_long(sent: bytes) -> None:
    async with (
        serving(keep_alive=Seconds(60), body_timeout=Seconds(0.1)) as transport,
        calling(transport.url) as used,
        calling(transport.url) as silent,
        asyncio.TaskGroup() as tasks,
    ):

        async def trickle() -> None:
            while True:
                await asyncio.sleep(0.02)  # which is what such a caller does
                await silent.send(sent)

        await used.ask(get("/ping"))
        trickling = tasks.create_task(trickle())
        with suppress(ConnectionError):
            assert await silent.rest() == b""
        trickling.cancel()
        got = await used.ask(get("/ping"))

    assert got.status == HTTPStatus.OK


@pytest.mark.timeout(20)
async def test_who_reads_no_answers_makes_room_for_others_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.connection.LINGER", 0.0)

    async with serving(max_connections=1) as transport, calling(transport.url, reluctant=True) as slow:
        slow.writer.write(get("/ping") * 200_000)
        await settled(slow.writer.transport.get_write_buffer_size)
        async with calling(transport.url) as other:
            await other.ask(post(a_message()))
            await until(lambda: transport.metrics()[0].samples == [({}, 1)])
        slow.writer.transport.abort()


async def test_whose_messages_are_taken_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.connection.LINGER", 0.0)

    async with serving(max_connections=1) as transport, calling(transport.url) as used:
        await used.ask(post(a_message()))
        async with calling(transport.url) as other:
            await other.rest()
        got = await used.ask(post(a_message()))

    assert got.status == HTTPStatus.OK


async def test_a_connection_that_makes_room_before_it_is_in_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.listener.LINGER", -1.0)

    async with serving(max_connections=1) as transport:
        where = urlsplit(transport.url)
        both = [socket.create_connection((where.hostname, where.port)) for _ in range(2)]  # in the kernel's queue
        both[1].sendall(get("/ping"))
        with both[0], both[1]:
            got = [await asyncio.to_thread(one.recv, 100) for one in both]
        gc.collect()  # what nobody has closed is complained of

    assert got[0] == b""
    assert got[1].startswith(b"HTTP/1.1 200")


async def test_without_memory_for_a_connection_there_is_another(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as transport:
        with monkeypatch.context() as patch:
            patch.setattr(HttpConnection, "__init__", starve)
            async with calling(transport.url) as unlucky:
                with suppress(ConnectionError):
                    await unlucky.rest()
        async with calling(transport.url) as other:
            got = await other.ask(get("/ping"))

    assert got.status == HTTPStatus.OK
    assert "MemoryError()" in caplog.text


# --- browsers --------------------------------------------------------------------------------------------------------

FOREIGN = ["evil.example", "evil.example:8080", "10.0.0.7", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]"]
OURS = ["localhost", "LOCALHOST:80", "127.0.0.1", "127.1.2.3:9", "[::1]", "[::1]:80", "gateway", "Gateway:8080", ""]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Origin: http://evil.example"], 403),
        (["Origin: null"], 403),
        (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: same-site"], 403),
        (["Sec-Fetch-Site: none"], 200),
        (["Sec-Fetch-Site: same-origin"], 200),
    ],
)
async def test_no_page_of_a_browser_may_ask(headers: Sequence[str], status: int) -> None:
    intake, body = FakeIntake(), a_message()

    async with serving(intake, admin="127.0.0.1:0") as transport:
        assert transport.operators_url is not None
        async with calling(transport.url) as caller, calling(transport.operators_url) as operator:
            got = [await one.ask(get("/ping", *headers)) for one in (caller, operator)]
        async with calling(transport.url) as caller:
            invoked = await caller.ask(post(body, *headers))

    assert [one.status for one in (*got, invoked)] == [status] * 3
    assert len(intake.admitted) == (status == HTTPStatus.OK)


@pytest.mark.parametrize(("host", "status"), [*((one, 403) for one in FOREIGN), *((one, 200) for one in OURS)])
async def test_what_listens_on_loopback_is_asked_by_its_names(host: str, status: int) -> None:
    async with serving(admin="127.0.0.1:0", hosts=("gateway",)) as transport:
        for url in (transport.url, transport.operators_url):
            assert url is not None
            async with calling(url) as caller:
                got = await caller.ask(get("/ping").replace(b"Host: localhost", f"Host: {host}".encode()))
            assert got.status == status


async def test_what_others_can_reach_is_asked_by_any_name() -> None:
    open_to_all = {"bind": ":0", "admin": ":0", "allow_anonymous": True, "allow_anonymous_admin": True}

    async with serving(**open_to_all) as transport:
        for url in (transport.url, transport.operators_url):
            assert url is not None
            async with calling(url) as caller:
                got = await caller.ask(get("/ping").replace(b"Host: localhost", b"Host: invoker0.example"))
            assert got.status == HTTPStatus.OK


async def test_who_is_kept_out_is_counted_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(username="me", password=Secret("secret")) as transport, calling(transport.url) as caller:
        for _ in range(5):
            await caller.ask(post(b""))
        found = counted(transport, REFUSED)

    told = [text for text in caplog.messages if "refused with 401" in text]
    assert found == {"password": 5}
    assert len(told) == 1
    assert "the last came from ('127.0.0.1', " in told[0]


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(8)
async def test_a_handshake_has_as_long_as_a_request(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    tls = certificates.settings(ask_callers=False)

    async with serving(tls=tls, body_timeout=Seconds(0.05)) as transport:
        plain = transport.url.replace("https", "http")
        async with calling(plain) as silent:
            with suppress(ConnectionError):
                await silent.rest()
        await until(lambda: counted(transport, HANDSHAKES))
        async with calling(plain) as wrong:
            with suppress(ConnectionError):
                await wrong.send(get("/ping"))
                await wrong.rest()
        await until(lambda: len(counted(transport, HANDSHAKES)) == 2)
        found = counted(transport, HANDSHAKES)

    assert found == {"timeout": 1, "failed": 1}
    assert len([text for text in caplog.messages if text.startswith("TLS handshakes without success, so far 1")]) == 2


async def test_certificates_are_read_again_when_they_have_changed(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ServerTls, "LOOK", 0.0)
    (tmp_path / "used").mkdir()
    (tmp_path / "new").mkdir()
    used, new = issued(tmp_path / "used"), issued(tmp_path / "new")

    async def serial(url: str) -> str:
        trusting = ssl.create_default_context(cafile=authority)
        async with calling(url, trusting) as caller:
            certificate = caller.writer.get_extra_info("peercert")
        return str(certificate["serialNumber"])

    async with serving(tls=used.settings(ask_callers=False)) as transport:
        authority = used.authority
        first = await serial(transport.url)
        used.server.write_text("half of a")
        broken = await serial(transport.url)
        again = await serial(transport.url)
        used.server.write_bytes(new.server.read_bytes())
        new.server_key.replace(used.server_key)
        authority = new.authority
        renewed = await serial(transport.url)

    assert first == broken == again != renewed
    assert len([text for text in caplog.messages if "the old ones stay in use" in text]) == 1


# --- what is not understood ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Transfer-Encoding: gzip, chunked", HTTPStatus.NOT_IMPLEMENTED),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", HTTPStatus.NOT_IMPLEMENTED),
        ("Transfer-Encoding: gzip", HTTPStatus.NOT_IMPLEMENTED),
        ("Transfer-Encoding: Chunked", HTTPStatus.OK),
        ("Content-Length: 7\r\nContent-Encoding: gzip", HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        ("Content-Length: 7\r\nContent-Encoding: Identity", HTTPStatus.OK),
        ("Content-Length: 7\r\nExpect: pony", HTTPStatus.EXPECTATION_FAILED),
    ],
)
async def test_what_is_not_understood_is_not_guessed(header: str, status: HTTPStatus) -> None:
    intake, body = FakeIntake(), a_message()
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    framed = body if "Length" in header else chunked
    head = f"POST /invoke HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".replace("7", str(len(body)))

    async with one_caller(intake) as caller:
        got = await caller.ask(head.encode() + framed)

    assert got.status == status
    assert len(intake.admitted) == (status == HTTPStatus.OK)


@pytest.mark.parametrize("body", [b"", a_message()])
async def test_an_offer_to_upgrade_costs_nobody_the_connection(body: bytes) -> None:
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")

    async with one_caller() as caller:
        got = [await caller.ask(post(body, *upgrade) if body else get("/ping", *upgrade)) for _ in range(3)]
        after = await caller.ask(post(a_message()))

    assert [one.status for one in (*got, after)] == [HTTPStatus.OK] * 4
    assert not any("Connection" in one.headers for one in got)
