"""How the transport ends: what runs is answered, nothing new begins, and nobody can hold it up."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack, ExitStack
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest

from invoker.config import Settings
from invoker.contracts import Admitted, Answers
from invoker.entities.activation import Ack
from invoker.testing.builders import an_activation
from invoker.testing.containers import PATIENCE
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker.testing.transport import GLANCE, a_message
from invoker_http.serving import Addresses, serving
from tests.plugins.transport_http.caller import Caller, calling, connected, get, http, post


class Opened:
    """The transport in a task of its own."""

    def __init__(self, intake: FakeIntake, listener: str) -> None:
        self._intake = intake
        self._settings = http(listener=listener, admin="127.0.0.1:0")
        self._addresses: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        async with serving(Settings.of(self._settings), self._intake, FakeOperations()) as addresses:
            self._addresses.set_result(addresses)
            await self._stop.wait()
        self._intake.note("closed")

    async def addresses(self) -> Addresses:
        return await self._addresses

    async def stop(self) -> None:
        """Ask it to stop; return when it does, which shows in that nobody can connect any more."""
        self._stop.set()
        try:
            while True:
                async with calling((await self.addresses()).data) as caller:
                    await caller.ask(get("/ping"))
        except (ConnectionError, EOFError):
            return


async def test_a_kept_connection_is_told_that_no_work_is_taken(listener: str) -> None:
    intake = FakeIntake()
    opened = Opened(intake, listener)
    url = (await opened.addresses()).data

    async with calling(url) as busy, calling(url) as kept, calling(url) as other:
        await kept.ask(get("/ping"))
        await other.ask(get("/ping"))
        with intake.held():
            await busy.send(post(a_message()))
            head = await busy.head()
            await opened.stop()
            late = await kept.ask(post(a_message()))
            ping = await other.ask(get("/ping"))
            rest = await kept.rest()
        answer = json.loads(await busy.body(head))
        await opened.task

    assert [late.status, ping.status] == [HTTPStatus.SERVICE_UNAVAILABLE] * 2
    assert (late.headers["Retry-After"], late.headers["Connection"], rest) == ("1", "close", b"")
    assert answer["isSystemError"] is False
    assert [event.what for event in intake.events] == ["admitted", "accepted", "completed", "closed"]


async def test_whoever_has_connected_is_answered(listener: str) -> None:
    """A connection that is reset would leave its caller in doubt whether the message was taken."""
    intake = FakeIntake()
    opened = Opened(intake, listener)
    where = urlsplit((await opened.addresses()).data)
    asked = b"POST /invoke HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

    with ExitStack() as stack:
        callers = [
            stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=PATIENCE))
            for _ in range(32)
        ]
        for caller in callers[:16]:  # these are in the kernel's queue; nothing has run since they came
            caller.sendall(asked)
        await opened.stop()
        for caller in callers[16:]:
            caller.sendall(asked)
        await opened.task
        answers = [caller.recv(1 << 16) for caller in callers]

    assert [answer.split()[1] for answer in answers] == [b"503"] * 32


async def test_what_comes_on_a_kept_connection_at_the_last_moment_is_answered(listener: str) -> None:
    opened = Opened(FakeIntake(), listener)

    async with calling((await opened.addresses()).data) as kept:
        await kept.ask(get("/ping"))
        await kept.send(post(a_message()))  # nobody has had time to read it
        await opened.stop()
        answer = await kept.rest()
        await opened.task

    assert answer.split()[1] in {b"200", b"503"}, "whichever came first"


async def test_a_body_that_arrives_too_late_is_not_taken(listener: str) -> None:
    intake = FakeIntake()
    opened = Opened(intake, listener)
    url = (await opened.addresses()).data
    message = a_message()

    async with calling(url) as busy, calling(url) as late:
        with intake.held():
            await busy.send(post(a_message()))
            await busy.head()
            await late.send(post(message, "Expect: 100-continue").removesuffix(message))
            await late.head()  # the head was let in
            await opened.stop()
            got = await late.ask(message)
        await opened.task

    assert got.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert intake.count("admitted") == 1


async def test_operators_are_told_to_the_end(listener: str) -> None:
    intake = FakeIntake()
    opened = Opened(intake, listener)
    addresses = await opened.addresses()
    assert addresses.admin is not None

    async with calling(addresses.data) as busy:
        async with calling(addresses.admin) as operator:
            before = await operator.ask(get("/readyz"))
        with intake.held():
            await busy.send(post(a_message()))
            await busy.head()
            await opened.stop()
            async with calling(addresses.admin) as operator:
                ready = await operator.ask(get("/readyz"))
                alive = await operator.ask(get("/livez"))
        await opened.task

    assert [before.status, ready.status, alive.status] == [HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.OK]
    assert json.loads(ready.body) == ["stopping"]


@pytest.mark.timeout(20)
async def test_connections_end_with_the_transport(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.listener.FLUSH", 60.0)
    monkeypatch.setattr("invoker_http.server.FLUSH", 60.0)
    opened = Opened(FakeIntake(), listener)
    url = (await opened.addresses()).data

    async with calling(url) as idle, calling(url) as used, calling(url) as half:
        await used.ask(get("/ping"))
        await half.send(post(a_message())[:20])
        await opened.stop()
        await opened.task

        assert [await each.rest() for each in (idle, used, half)] == [b""] * 3


async def test_what_is_broken_off_is_answered_before_its_connection_ends(listener: str) -> None:
    intake = FakeIntake()
    opened = Opened(intake, listener)
    url = (await opened.addresses()).data

    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(calling(url)) for _ in range(8)]
        stack.enter_context(intake.held())
        for caller in callers:
            await caller.send(post(a_message()))
            await caller.head()
        await opened.stop()
        opened.task.cancel()
        answers = [await caller.rest() for caller in callers]
        with pytest.raises(asyncio.CancelledError):
            await opened.task

    assert all(answer.endswith(b"\r\n0\r\n\r\n") for answer in answers)
    assert all(b'"isSystemError":true' in answer for answer in answers)


class Slow(FakeIntake):
    """Takes its time to end when it is cancelled: until told."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    async def invoke(self, admitted: Admitted, answers: Answers) -> None:
        await answers.accepted()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.note("cancelled", admitted.request.activation_id)
            await self.told.wait()
            await answers.completed(an_activation(), Ack.COMBINED)
            raise


async def broken_off(opened: Opened, intake: Slow, caller: Caller) -> None:
    """Stop while an invocation runs, and break it off; what it still has to say waits for the test."""
    await caller.send(post(a_message()))
    await caller.head()
    await opened.stop()
    opened.task.cancel()
    await intake.seen("cancelled")


@pytest.mark.timeout(20)
async def test_what_is_broken_off_may_take_its_time(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.listener.FLUSH", 0.01)
    monkeypatch.setattr("invoker_http.server.FLUSH", 0.01)
    intake = Slow()
    opened = Opened(intake, listener)

    async with calling((await opened.addresses()).data) as caller:
        await broken_off(opened, intake, caller)
        await asyncio.wait((opened.task,), timeout=GLANCE)
        intake.told.set()
        rest = await caller.rest()
        with pytest.raises(asyncio.CancelledError):
            await opened.task

    assert rest.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.timeout(20)
async def test_leaving_can_be_cut_short_twice(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker_http.listener.FLUSH", 0.05)
    monkeypatch.setattr("invoker_http.server.FLUSH", 0.05)
    intake = Slow()
    opened = Opened(intake, listener)

    async with calling((await opened.addresses()).data) as caller:
        await broken_off(opened, intake, caller)
        opened.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opened.task

    assert not intake.count("completed")


async def test_an_exception_in_the_program_closes_the_transport_all_the_same(listener: str) -> None:
    callers: list[Caller] = []

    async def program() -> None:
        async with serving(Settings.of(http(listener=listener)), FakeIntake(), FakeOperations()) as addresses:
            callers.append(await connected(addresses.data))
            await callers[0].ask(post(a_message()))
            raise LookupError(listener)

    with pytest.raises((LookupError, ExceptionGroup)):
        await program()
    rest = await callers[0].rest()
    await callers[0].leave()

    assert rest == b""
