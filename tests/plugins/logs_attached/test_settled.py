"""How long logs are waited for. Clocks are virtual, but for the tests that read real pipes."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request
from invoker.testing.log_extractor import ERR, OUT, PLENTY, a_container, end_output
from invoker_attached_logs.follower import AttachedLogs, Follower
from tests.plugins.logs_attached.virtual import VirtualLoop

REQUEST = a_request()


def virtually(scenario: Callable[[Follower], Coroutine[Any, Any, bool]]) -> tuple[bool, float]:
    """Run a scenario with a follower whose activation has begun; return its result and the virtual seconds."""
    follower = AttachedLogs("openwhisk").follow(a_container())
    follower.begin(REQUEST, PLENTY)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario(follower)), runner.get_loop().time()


def test_complete_logs_are_not_waited_for() -> None:
    follower = AttachedLogs("openwhisk").follow(a_container())
    follower.begin(REQUEST, PLENTY)
    end_output(follower)

    with pytest.raises(StopIteration) as returned:  # without even an event loop
        follower.settled(60).send(None)

    assert returned.value.value is True


def test_silence_is_given_up_after_the_timeout() -> None:
    async def scenario(follower: Follower) -> bool:
        follower.write(OUT, SENTINEL_LINE)
        return await follower.settled(1)

    assert virtually(scenario) == (False, 1)


def test_the_last_sentinel_ends_the_wait() -> None:
    async def scenario(follower: Follower) -> bool:
        loop = asyncio.get_running_loop()
        loop.call_later(0.25, follower.write, ERR, b"text\n" + SENTINEL_LINE)
        loop.call_later(0.5, follower.write, OUT, SENTINEL_LINE)
        return await follower.settled(60)

    assert virtually(scenario) == (True, 0.5)


def test_the_end_of_the_container_ends_the_wait() -> None:
    async def scenario(follower: Follower) -> bool:
        asyncio.get_running_loop().call_later(0.5, follower.closed)
        return await follower.settled(60)

    assert virtually(scenario) == (False, 0.5)


def test_a_container_that_is_gone_is_not_waited_for() -> None:
    async def scenario(follower: Follower) -> bool:
        follower.closed()
        return await follower.settled(60)

    assert virtually(scenario) == (False, 0)


def test_the_timeout_counts_from_the_last_chunk() -> None:
    async def scenario(follower: Follower) -> bool:
        loop = asyncio.get_running_loop()
        for index in range(1, 9):
            loop.call_later(0.75 * index, follower.write, OUT, b"backlog\n")
        loop.call_later(6.5, end_output, follower)
        return await follower.settled(1)

    assert virtually(scenario) == (True, 6.5)


def test_silence_after_a_backlog_is_given_up() -> None:
    async def scenario(follower: Follower) -> bool:
        asyncio.get_running_loop().call_later(0.75, follower.write, OUT, b"backlog\n")
        return await follower.settled(1)

    assert virtually(scenario) == (False, 1.75)


@pytest.mark.parametrize(("printed", "seconds"), [((), 1), ((0.75,), 1.75), ((0.75, 1.5), 2.5)])
def test_an_image_without_sentinels_is_heard_until_it_is_quiet(printed: tuple[float, ...], seconds: float) -> None:
    async def scenario(_: Follower) -> bool:
        follower = AttachedLogs("openwhisk").follow(a_container(sentinelled=False))
        follower.begin(REQUEST, PLENTY)
        for when in printed:
            asyncio.get_running_loop().call_later(when, follower.write, OUT, b"text\n")
        settled = await follower.settled(1)
        return settled or len(follower.end(expected=False).lines) != len(printed)

    assert virtually(scenario) == (False, seconds)


def test_an_image_without_sentinels_that_is_gone_is_not_waited_for() -> None:
    async def scenario(_: Follower) -> bool:
        follower = AttachedLogs("openwhisk").follow(a_container(sentinelled=False))
        follower.begin(REQUEST, PLENTY)
        asyncio.get_running_loop().call_later(0.25, follower.closed)
        first = await follower.settled(1)
        return first or await follower.settled(1)

    assert virtually(scenario) == (False, 0.25)


def test_endless_output_is_given_up_after_twenty_timeouts() -> None:
    async def scenario(follower: Follower) -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for index in range(25):
            loop.call_later(0.75 * index, follower.write, OUT, b"more\n")
        loop.call_later(19, storm, loop, follower)
        async with asyncio.timeout(30):
            return await follower.settled(1)

    def storm(loop: VirtualLoop, follower: Follower) -> None:
        loop._now += 0.01
        follower.write(OUT, b"more\n")  # each time that the loop looks
        loop.call_soon(storm, loop, follower)

    settled, seconds = virtually(scenario)

    assert not settled
    assert 20 <= seconds < 20.1


def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    async def scenario(follower: Follower) -> bool:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await follower.settled(60)
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        loop.call_later(0.5, end_output, follower)
        return not timers and await follower.settled(60)

    assert virtually(scenario) == (True, 1)


class _Pushed(asyncio.Protocol):
    """Hands on what it reads at once."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def data_received(self, data: bytes) -> None:
        self._follower.write(OUT, data)


async def _pulled(stream: asyncio.StreamReader, follower: Follower) -> None:
    """Hand on what is read a turn of the loop later."""
    while chunk := await stream.read(1 << 16):
        follower.write(OUT, chunk)


def _print_and_close(write_end: int) -> None:
    os.write(write_end, SENTINEL_LINE)
    os.close(write_end)


@pytest.mark.parametrize("loop_factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
@pytest.mark.parametrize("pulled", [False, True], ids=["pushed", "pulled"])
def test_a_busy_loop_does_not_lose_what_is_in_the_pipe(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    pulled: bool,  # noqa: FBT001 (a parameter)
) -> None:
    async def scenario() -> bool:
        loop = asyncio.get_running_loop()
        follower = AttachedLogs("openwhisk").follow(a_container())
        follower.begin(REQUEST, PLENTY)
        follower.write(ERR, SENTINEL_LINE)
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader) if pulled else _Pushed(follower)
        read_end, write_end = os.pipe()

        transport, _ = await loop.connect_read_pipe(lambda: protocol, os.fdopen(read_end, "rb"))
        async with asyncio.TaskGroup() as tasks:
            if pulled:
                tasks.create_task(_pulled(reader, follower))
            await asyncio.sleep(0)  # lets it begin to read
            loop.call_later(0.01, _print_and_close, write_end)  # at the last moment, just before the timeout
            loop.call_soon(time.sleep, 0.03)  # this is the load: both are overdue when the loop goes on
            settled = await follower.settled(0.01)
        transport.close()
        return settled

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(scenario())
