"""How the transport ends: whoever has connected is answered, nothing is lost on the way, and nobody can hold it up."""

import asyncio
import json
import socket
from contextlib import ExitStack
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest

from invoker.config import Settings
from invoker.testing.containers import PATIENCE
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker.testing.transport import a_message
from invoker_http.settings import HttpSettings
from invoker_http.transport import HttpTransport, opened
from tests.plugins.transport_http.caller import Caller, calling, connected, get, http, listening, post
from tests.plugins.transport_http.certificates import Certificates


class Program:
    """The transport in a task of its own, as the core has it."""

    def __init__(self, intake: FakeIntake, settings: HttpSettings | None = None) -> None:
        self.intake = intake
        self.operations = FakeOperations()
        self._settings = Settings.of(settings or http(admin="127.0.0.1:0"))
        self._opened: asyncio.Future[HttpTransport] = asyncio.get_running_loop().create_future()
        self._leaving = asyncio.Event()
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        async with opened(self._settings, self.intake, self.operations) as transport:
            self._opened.set_result(transport)
            await self._leaving.wait()
        self.intake.note("closed")

    async def url(self) -> str:
        return (await self._opened).url

    async def operators_url(self) -> str:
        url = (await self._opened).operators_url
        assert url is not None
        return url

    def drain(self) -> None:
        """Take no new work."""
        self.intake.refuse()
        self.operations.told = ["draining"]

    def leave_now(self) -> None:
        """Leave the transport, whatever runs."""
        self.drain()
        self._leaving.set()

    async def leave(self) -> None:
        """Leave the transport when all is answered, as the core does; return when nobody can connect any more."""
        await self.intake.drain()
        self.leave_now()
        try:
            while True:
                async with calling(await self.url()) as caller:
                    await caller.ask(get("/ping"))
        except (ConnectionError, EOFError):
            return


async def test_while_it_drains_what_runs_is_answered_and_others_are_told_that_no_work_is_taken() -> None:
    program = Program(FakeIntake())
    url = await program.url()

    async with calling(url) as busy, calling(url) as kept, calling(url) as other:
        await kept.ask(get("/ping"))
        await other.ask(get("/ping"))
        with program.intake.held():
            await busy.send(post(a_message()))
            head = await busy.head()
            program.drain()
            late = await kept.ask(post(a_message()))
            ping = await other.ask(get("/ping"))
            async with calling(url) as new:
                stranger = await new.ask(post(a_message()))
            rest = await kept.rest()
        answer = json.loads(await busy.body(head))
        await program.leave()
        await program.task

    assert [late.status, ping.status, stranger.status] == [HTTPStatus.SERVICE_UNAVAILABLE] * 3
    assert (late.headers["Retry-After"], late.headers["Connection"], rest) == ("1", "close", b"")
    assert answer["isSystemError"] is False
    assert [event.what for event in program.intake.events if event.what != "draining"] == [
        "admitted",
        "accepted",
        "completed",
        "closed",
    ]


@pytest.mark.parametrize("encrypted", [False, True])
async def test_whoever_has_connected_is_answered(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, *, encrypted: bool
) -> None:
    """A connection that is reset would leave its caller in doubt whether the message was taken."""
    monkeypatch.setattr("invoker_http.listener.LINGER", PATIENCE)
    monkeypatch.setattr("invoker_http.connection.LINGER", PATIENCE)
    settings = http(tls=certificates.settings(ask_callers=False)) if encrypted else http()
    program = Program(FakeIntake(), settings)
    where = urlsplit(await program.url())
    asked = b"POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"

    with ExitStack() as stack:
        callers = [
            stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=PATIENCE))
            for _ in range(32)
        ]
        if encrypted:  # of whose handshake nothing has come yet
            tls = certificates.client(certified=False)
            shaken = [asyncio.to_thread(tls.wrap_socket, each, server_hostname="localhost") for each in callers]
            callers, _ = await asyncio.gather(asyncio.gather(*shaken), program.leave())
        else:
            for caller in callers[:16]:  # these are in the kernel's queue; nothing has run since they came
                caller.sendall(asked)
            await program.leave()
        for caller in callers if encrypted else callers[16:]:
            caller.sendall(asked)
        answers = []
        for caller in callers:
            answers.append(await asyncio.to_thread(caller.recv, 1 << 16))
            caller.close()
        await program.task

    assert [answer.split()[1] for answer in answers] == [b"503"] * 32


async def test_what_comes_on_a_kept_connection_at_the_last_moment_is_answered() -> None:
    program = Program(FakeIntake())

    async with calling(await program.url()) as kept:
        await kept.ask(get("/ping"))
        await kept.send(post(a_message()))  # nobody has had time to read it
        program.leave_now()
        await program.task
        answer = await kept.rest()

    assert answer.split()[1] == b"503"


@pytest.mark.parametrize("kept", [False, True])
async def test_a_body_that_arrives_too_late_is_not_taken(*, kept: bool) -> None:
    program = Program(FakeIntake())
    message = a_message()

    async with calling(await program.url()) as late:
        if kept:
            await late.ask(get("/ping"))
        await late.send(post(message, "Expect: 100-continue").removesuffix(message))
        await late.head()  # the head was let in
        await program.leave()
        got = await late.ask(message)
        await program.task

    assert got.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert not program.intake.admitted


async def test_what_nobody_has_waited_for_is_answered_if_it_ends_in_time() -> None:
    program = Program(FakeIntake())

    async with calling(await program.url()) as busy:
        with program.intake.held():
            await busy.send(post(a_message()))
            head = await busy.head()
            program.leave_now()
            async with calling(await program.operators_url()) as operator:  # has the loop turn
                await operator.ask(get("/ping"))
        answer = json.loads(await busy.body(head))
        await program.task

    assert answer["isSystemError"] is False


async def test_operators_are_answered_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.connection.LINGER", PATIENCE)
    monkeypatch.setattr("invoker_http.connection.FLUSH", PATIENCE)
    program = Program(FakeIntake())

    async with calling(await program.url()) as half, calling(await program.operators_url()) as operator:
        before = await operator.ask(get("/readyz"))
        await half.send(post(a_message())[:20])  # has a while to send the rest
        await program.leave()
        async with calling(await program.operators_url()) as other:
            ready = await other.ask(get("/readyz"))
            alive = await other.ask(get("/livez"))
        await half.leave()
        await program.task

    assert [before.status, ready.status, alive.status] == [HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.OK]
    assert json.loads(ready.body) == ["draining"]


@pytest.mark.timeout(20)
async def test_connections_end_with_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.connection.FLUSH", 60.0)
    program = Program(FakeIntake())
    url = await program.url()

    async with calling(url) as idle, calling(url) as used, calling(url) as half:
        await used.ask(get("/ping"))
        await half.send(post(a_message())[:20])
        await program.leave()
        await program.task

        assert [await each.rest() for each in (idle, used, half)] == [b""] * 3


@pytest.mark.timeout(20)
async def test_leaving_can_be_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.connection.LINGER", 60.0)
    monkeypatch.setattr("invoker_http.connection.FLUSH", 60.0)
    program = Program(FakeIntake())

    async with calling(await program.url()) as silent:
        await program.leave()
        program.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await program.task
        with pytest.raises((ConnectionError, EOFError)):
            await silent.ask(get("/ping"))


async def test_an_exception_in_the_program_closes_the_transport_all_the_same() -> None:
    callers: list[Caller] = []

    async def program() -> None:
        async with listening(FakeIntake()) as url:
            callers.append(await connected(url))
            await callers[0].ask(post(a_message()))
            raise LookupError(url)

    with pytest.raises((LookupError, ExceptionGroup)):
        await program()
    rest = await callers[0].rest()
    await callers[0].leave()

    assert rest == b""
