"""The invoker's side of its supervisor, with the test as the supervisor."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from invoker import Settings
from invoker.entities.container import ContainerState
from invoker.errors import StartFailed
from invoker.testing.containers import RecordedOutput
from invoker_process.container import ProcessContainer
from invoker_process.messages import (
    STREAMS,
    ChildExited,
    ChildGone,
    ChildStarted,
    KillChild,
    MemoryUse,
    Message,
    MessageChannel,
    StartChild,
    close_all,
)
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from invoker_process.supervisor_client import Hear, SupervisorClient
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
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer = PlayedSupervisor(theirs)
    try:
        yield SupervisorClient(ours), peer
    finally:
        peer.close()
        close_all(peer.descriptors)


def an_order(number: int, environment: str = "") -> StartChild:
    return StartChild(number, ["/bin/true"], {"LONG": environment}, 1, 1, 1, 1)


def some_descriptors() -> Sequence[int]:
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(STREAMS)]


def into(told: Callable[[Message], None]) -> Hear:
    """A container that passes on what it hears."""
    return lambda event, _: told(event)


def a_container(client: SupervisorClient) -> ProcessContainer:
    return ProcessContainer("wsk_1", 1, client, RecordedOutput(), lambda _: None)


async def test_a_full_channel_keeps_the_order_and_every_descriptor() -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    with connected() as (client, peer):
        before = descriptors_of(os.getpid())
        numbers = range(40)  # of 20 kB each: several times what a socket takes
        for number in numbers:
            client.start_child(an_order(number, LONG), some_descriptors(), into(heard.put_nowait))
        await peer.receive(len(numbers))
        passed = descriptors_of(os.getpid()) - before

        peer.send(*(ChildStarted(number, "") for number in numbers))

        assert [await heard.get() for _ in numbers] == [ChildStarted(number, "") for number in numbers]
        assert [message.number for message in peer.messages if isinstance(message, StartChild)] == list(numbers)
        assert len(peer.descriptors) == passed == len(numbers) * STREAMS
    await client.dismiss()


async def test_what_could_not_be_sent_is_closed_when_the_supervisor_dies() -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    with connected() as (client, peer):
        before = descriptors_of(os.getpid())
        for number in range(40):
            client.start_child(an_order(number, LONG), some_descriptors(), into(heard.put_nowait))

        peer.close()

        assert {await heard.get() for _ in range(40)} == {ChildGone(number) for number in range(40)}
        assert descriptors_of(os.getpid()) == before - 2
    await client.dismiss()


async def test_an_environment_that_is_too_long_is_a_failed_start() -> None:
    with connected() as (client, _):
        container = a_container(client)
        before = descriptors_of(os.getpid())

        with pytest.raises(StartFailed, match="environment is too long"):
            await container.start(an_order(1, "x" * (1 << 17)))

        assert descriptors_of(os.getpid()) == before + STREAMS  # our ends of its streams, until it is removed
    await client.dismiss()
    assert descriptors_of(os.getpid()) == before - 2


async def test_events_go_to_whom_they_are_about() -> None:
    first: list[Message] = []
    second: asyncio.Queue[Message] = asyncio.Queue()
    exited = ChildExited(2, -9, peak=5, exhausted=True, remark="")
    with connected() as (client, peer):
        client.start_child(an_order(1), some_descriptors(), into(first.append))
        client.start_child(an_order(2), some_descriptors(), into(second.put_nowait))
        client.send(KillChild(2))
        await peer.receive(3)
        peer.send(ChildStarted(2, ""), ChildStarted(1, ""), exited, ChildGone(2), ChildGone(7))

        assert [await second.get() for _ in range(3)] == [ChildStarted(2, ""), exited, ChildGone(2)]
        assert peer.messages[-1] == KillChild(2)
        assert first == [ChildStarted(1, "")]
    await client.dismiss()
    assert first == [ChildStarted(1, ""), ChildGone(1)]


async def test_many_that_ask_how_a_container_is_get_one_answer_and_none_from_a_dead_supervisor() -> None:
    with connected() as (client, peer):
        container = a_container(client)
        start = asyncio.ensure_future(container.start(an_order(1)))
        await peer.receive(1)
        peer.send(ChildStarted(1, ""))
        await start
        askers = [asyncio.ensure_future(container.inspect()) for _ in range(3)]
        await peer.receive(2)
        peer.send(MemoryUse(1, 5))
        answers = await asyncio.gather(*askers)
        last = asyncio.ensure_future(container.inspect())
        await peer.receive(3)

    assert answers == [ContainerState(running=True, peak_memory=5)] * 3
    assert peer.messages[1:] == [MemoryUse(1), MemoryUse(1)]
    assert await last == ContainerState(running=False)
    await client.dismiss()


async def test_a_cancelled_start_takes_no_answer_amiss() -> None:
    with connected() as (client, peer):
        container = a_container(client)
        start = asyncio.ensure_future(container.start(an_order(1)))
        await peer.receive(1)

        start.cancel()
        peer.send(ChildStarted(1, ""), ChildGone(1))
        await container.remove()

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
