"""Making the connection, to a proxy that boots or to nobody, and closing it."""

import asyncio
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from typing import Any

import pytest

from invoker.action_connection import ActionConnection, Disconnected
from invoker.errors import PostTimedOut, Unreachable
from tests.core.action_connection.peer import (
    OK,
    SHORT,
    PeerConnection,
    answers_once,
    connected,
    peer,
    post,
    reply,
)


@contextmanager
def reserved() -> Iterator[socket.socket]:
    """A port that nobody else can take, and that refuses until somebody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@contextmanager
def refused() -> Iterator[ActionConnection]:
    with reserved() as bound, closing(ActionConnection(*bound.getsockname())) as connection:
        yield connection


@contextmanager
def unanswered() -> Iterator[ActionConnection]:
    """To a port that doesn't even refuse: the queue of those who want to connect is full."""
    with ExitStack() as sockets:
        server = sockets.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 (the library's own signature)
            filler.connect_ex(server.getsockname())
        yield sockets.enter_context(closing(ActionConnection(*server.getsockname())))


@contextmanager
def no_more_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_free = os.dup(0)
    os.close(next_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_refused_connection_is_unreachable_at_once() -> None:
    with refused() as connection, pytest.raises(Unreachable, match="can't connect to 127"):
        await post(connection)


async def test_a_proxy_that_boots_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, attempts = asyncio.get_running_loop(), 0
    create_connection = loop.create_connection

    async def counted(*arguments: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 4:
            await booted.enter_async_context(peer(answers_once, sock=bound))
        return await create_connection(*arguments)

    monkeypatch.setattr(loop, "create_connection", counted)
    with reserved() as bound:
        async with AsyncExitStack() as booted:
            with closing(ActionConnection(*bound.getsockname())) as connection:
                got = await post(connection, wait=True)  # spec T57

    assert got == OK
    assert attempts == 4


async def test_a_proxy_that_never_boots_has_timed_out_and_is_told_from_one_that_was_reached() -> None:
    with reserved() as bound, closing(ActionConnection(*bound.getsockname())) as connection:
        with pytest.raises(PostTimedOut) as caught:
            await post(connection, timeout=SHORT, wait=True)

        assert caught.value.deaf == bound.getsockname()[1]


async def test_a_port_that_stays_silent_has_timed_out() -> None:
    with unanswered() as connection, pytest.raises(PostTimedOut) as caught:
        await post(connection, timeout=SHORT)

    assert caught.value.deaf is None


async def test_an_error_of_our_own_is_not_taken_for_a_proxy_that_boots() -> None:
    with closing(ActionConnection("127.0.0.1", 9)) as connection, no_more_files(), pytest.raises(Unreachable):
        await post(connection, wait=True)


async def test_closing_fails_the_request_in_flight() -> None:
    async def is_closed_upon(line: PeerConnection) -> None:
        await line.request()
        connection.close()
        await line.caller_left()

    async with peer(is_closed_upon) as up, connected(up) as connection:
        with pytest.raises(Disconnected, match="closed here"):
            await post(connection)


async def test_closing_ends_the_wait_for_a_proxy_that_boots() -> None:
    with refused() as connection:
        asyncio.get_running_loop().call_later(SHORT, connection.close)
        with pytest.raises(Unreachable, match="closed"):
            await post(connection, wait=True)


async def test_closing_ends_an_attempt_to_connect() -> None:
    with unanswered() as connection:
        asyncio.get_running_loop().call_later(SHORT, connection.close)
        with pytest.raises(Unreachable, match="closed"):
            await post(connection)


async def test_a_closed_connection_sends_nothing_and_may_be_closed_again() -> None:
    async with peer(answers_once) as up, connected(up) as connection:
        assert await post(connection) == OK
        connection.close()
        connection.close()
        with pytest.raises(Unreachable):
            await post(connection)


async def test_cancelling_an_attempt_to_connect_leaves_nothing_behind() -> None:
    with unanswered() as connection:
        task = asyncio.create_task(post(connection))
        asyncio.get_running_loop().call_later(SHORT, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(PostTimedOut):  # it is not in flight any more
            await post(connection, timeout=SHORT)


# --- a Unix socket --------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that nobody has accepted from."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        yield listener


async def test_a_unix_socket_on_which_nobody_listens_is_unreachable_at_once(listener: socket.socket) -> None:
    way = ActionConnection.unix(listener.getsockname())
    with closing(way) as connection, pytest.raises(Unreachable, match=r"can't connect to localhost: .*refused"):
        await post(connection)


async def test_a_unix_socket_for_which_too_many_wait_is_unreachable_at_once(listener: socket.socket) -> None:
    listener.listen(0)
    with socket.socket(socket.AF_UNIX) as first, closing(ActionConnection.unix(listener.getsockname())) as connection:
        first.connect(listener.getsockname())

        with pytest.raises(Unreachable, match="temporarily unavailable"):
            await post(connection)


async def test_a_request_waits_in_the_queue_of_a_unix_socket_until_somebody_accepts(listener: socket.socket) -> None:
    listener.listen()
    with closing(ActionConnection.unix(listener.getsockname())) as connection:
        request = asyncio.create_task(post(connection))
        accepted, _ = await asyncio.to_thread(listener.accept)
        with accepted:
            await asyncio.to_thread(accepted.recv, 1 << 16)
            accepted.sendall(reply())

            assert await request == OK


async def test_one_who_leaves_with_requests_in_its_queue_has_taken_them(listener: socket.socket) -> None:
    listener.listen()
    with closing(ActionConnection.unix(listener.getsockname())) as connection:
        request = asyncio.create_task(post(connection))
        await asyncio.sleep(0)

        listener.close()

        with pytest.raises(Disconnected):  # nobody can tell whether it was run
            await request
