"""The invoker's side of its supervisor, with the test as the supervisor."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from invoker import Settings
from invoker.errors import StartFailed
from invoker_process.messages import (
    STREAMS,
    ChildExited,
    ChildGone,
    ChildStarted,
    KillChild,
    Message,
    MessageChannel,
    PeakMemory,
    StartChild,
    close_all,
)
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from invoker_process.supervisor_client import SupervisorClient
from tests.plugins.runtime_process.actions import descriptors_of, entries

LONG = "x" * 20_000


class PlayedSupervisor:
    """The other end of the channel."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._channel = MessageChannel(connection)
        self.messages: list[Message] = []
        self.descriptors: list[int] = []

    async def receive(self, count: int) -> None:
        """Read until so many messages have come."""
        while len(self.messages) < count:
            for message, descriptors in self._channel.receive():
                self.messages.append(message)
                self.descriptors += descriptors
            await asyncio.sleep(0)

    def send(self, *messages: Message) -> None:
        for message in messages:
            self._channel.send(message)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def connected() -> Iterator[tuple[SupervisorClient, PlayedSupervisor]]:
    ours, theirs = MessageChannel.pair()
    peer = PlayedSupervisor(theirs)
    try:
        yield SupervisorClient(ours), peer
    finally:
        peer.close()
        close_all(peer.descriptors)


def an_order(number: int, *argv: str) -> StartChild:
    return StartChild(number, list(argv), {}, 1, 1, 1)


def some_descriptors() -> Sequence[int]:
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(STREAMS)]


def nobody(event: object, descriptors: object) -> None:
    """A container that doesn't care."""


def into(told: Callable[[object], None]) -> Callable[[object, object], None]:
    """A container that passes on what it hears."""
    return lambda event, _: told(event)


async def test_a_full_channel_keeps_the_order_and_every_descriptor() -> None:
    with connected() as (client, peer):
        before = descriptors_of(os.getpid())
        numbers = range(40)  # of 20 kB each: several times what a socket takes
        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                tasks.create_task(client.spawn(an_order(number, LONG), some_descriptors(), nobody))
            await asyncio.sleep(0)  # all were handed over, and few were sent
            await peer.receive(len(numbers))
            passed = descriptors_of(os.getpid()) - before

            peer.send(*(ChildStarted(number, "") for number in numbers))

        assert [message.number for message in peer.messages if isinstance(message, StartChild)] == list(numbers)
        assert len(peer.descriptors) == passed == len(numbers) * STREAMS
    await client.dismiss()


async def test_what_could_not_be_sent_is_closed_when_the_supervisor_dies() -> None:
    with connected() as (client, peer):
        before = descriptors_of(os.getpid())
        starts = [
            asyncio.ensure_future(client.spawn(an_order(number, LONG), some_descriptors(), nobody))
            for number in range(40)
        ]
        await asyncio.sleep(0)

        peer.close()
        results = await asyncio.gather(*starts, return_exceptions=True)

        assert {type(result) for result in results} == {StartFailed}
        assert descriptors_of(os.getpid()) == before - 2
    await client.dismiss()


async def test_events_go_to_whom_they_are_about() -> None:
    first: list[object] = []
    second: asyncio.Queue[object] = asyncio.Queue()
    exited = ChildExited(2, -9, memory_exhausted=True, peak=5)
    with connected() as (client, peer):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.spawn(an_order(1), some_descriptors(), into(first.append)))
            tasks.create_task(client.spawn(an_order(2), some_descriptors(), into(second.put_nowait)))
            await peer.receive(2)
            peer.send(ChildStarted(2, ""), ChildStarted(1, ""))

        client.kill(2)
        await peer.receive(3)
        peer.send(exited, ChildGone(2), ChildGone(7))

        assert [await second.get() for _ in range(3)] == [ChildStarted(2, ""), exited, ChildGone(2)]
        assert peer.messages[-1] == KillChild(2)
        assert first == [ChildStarted(1, "")]
    await client.dismiss()
    assert first == [ChildStarted(1, ""), ChildGone(1)]


async def test_many_that_ask_for_the_same_get_one_answer_and_none_from_a_dead_supervisor() -> None:
    with connected() as (client, peer):
        askers = [asyncio.ensure_future(client.peak(1)) for _ in range(3)]
        await peer.receive(1)
        peer.send(PeakMemory(1, 5))
        answers = await asyncio.gather(*askers)
        last = asyncio.ensure_future(client.peak(1))
        await peer.receive(2)

    assert answers == [5, 5, 5]
    assert peer.messages == [PeakMemory(1), PeakMemory(1)]
    assert await last is None
    await client.dismiss()
    assert await client.peak(1) is None


async def test_a_cancelled_start_takes_no_answer_amiss() -> None:
    gone = asyncio.Event()
    with connected() as (client, peer):
        start = asyncio.ensure_future(client.spawn(an_order(1), some_descriptors(), lambda *_: gone.set()))
        await peer.receive(1)

        start.cancel()
        peer.send(ChildStarted(1, ""), ChildGone(1))
        await gone.wait()

        assert start.cancelled()
    await client.dismiss()


async def test_a_supervisor_that_does_not_start_is_a_failed_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/true")
    before = descriptors_of(os.getpid())

    with pytest.raises(StartFailed, match="the supervisor has ended"):
        async with process_runtime(Settings.of(ProcessSettings(work_dir=tmp_path))):
            pass

    assert entries(tmp_path) == []
    assert descriptors_of(os.getpid()) <= before + 1  # a child watcher of the loop's may stay
