"""When a connection is used again, and when not: nothing may be sent that could get lost (spec T54, T55)."""

import asyncio

import pytest

from invoker.action_connection import ActionConnection
from tests.core.action_connection.peer import (
    OK,
    PeerConnection,
    answers_once,
    connected,
    peer,
    post,
    reply,
)

pytestmark = pytest.mark.usefixtures("transport")


def let_idle(connection: ActionConnection, seconds: float) -> None:
    """As if `seconds` had gone by since the last reply; the loop's clock can't be set on uvloop."""
    assert connection._wire is not None
    connection._wire._idle_since -= seconds


async def answers_twice(line: PeerConnection) -> None:
    await line.answer(reply())
    await line.answer(reply())
    await line.caller_left()


async def test_a_connection_is_used_again() -> None:
    async with peer(answers_twice) as up, connected(up) as connection:
        assert await post(connection) == OK
        let_idle(connection, 0.9)
        assert await post(connection) == OK


@pytest.mark.parametrize(
    ("headers", "seconds", "connections"),
    [
        ((), 1.1, 2),
        (("Connection: close",), 0, 2),
        (("Keep-Alive: timeout=5",), 3.5, 1),
        (("Keep-Alive: timeout=5",), 4.1, 2),
        (("Keep-Alive: timeout=1",), 0, 2),
    ],
)
async def test_a_connection_is_used_again_only_while_the_peer_surely_keeps_it(
    headers: tuple[str, ...], seconds: float, connections: int
) -> None:
    async def answers(line: PeerConnection) -> None:
        for _ in range(3 - connections):
            await line.answer(reply(b'{"ok":true}', *headers))
        await line.caller_left()

    async with peer(*[answers] * connections) as up, connected(up) as connection:
        assert await post(connection) == OK
        if connection._wire is not None:
            let_idle(connection, seconds)
        assert await post(connection) == OK


@pytest.mark.parametrize("action", ["end_now", "write_now"])
async def test_what_the_peer_did_is_seen_even_before_the_loop_has_seen_it(action: str) -> None:
    async with peer(answers_once, answers_once) as up, connected(up) as connection:
        assert await post(connection) == OK
        if action == "end_now":
            up.lines[0].end_now()
        else:
            up.lines[0].write_now(reply(b'{"forged":true}'))
        assert await post(connection) == OK


async def test_a_peer_that_writes_unasked_is_left() -> None:
    async def writes_unasked(line: PeerConnection) -> None:
        await line.answer(reply())
        await answered.wait()
        await line.send(reply(b'{"forged":true}'))
        await line.caller_left()
        left.set()

    answered, left = asyncio.Event(), asyncio.Event()
    async with peer(writes_unasked, answers_once) as up, connected(up) as connection:
        assert await post(connection) == OK
        answered.set()
        await left.wait()
        assert await post(connection) == OK


async def test_a_forgotten_connection_is_not_used_again() -> None:
    async def is_left(line: PeerConnection) -> None:
        await answers_once(line)
        left.set()

    left = asyncio.Event()
    async with peer(is_left, answers_once) as up, connected(up) as connection:
        connection.forget()
        assert await post(connection) == OK
        connection.forget()  # spec T55
        await left.wait()
        assert await post(connection) == OK


async def test_a_connection_forgotten_in_the_middle_of_a_request_still_brings_its_reply() -> None:
    async def answers_when_told(line: PeerConnection) -> None:
        await line.request()
        connection.forget()
        await line.send(reply())
        await line.caller_left()

    async with peer(answers_when_told, answers_once) as up, connected(up) as connection:
        assert await post(connection) == OK
        assert await post(connection) == OK
