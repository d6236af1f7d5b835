"""The line to the warden, with the test as the warden."""

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from invoker import Settings
from invoker.errors import StartFailed
from invoker_process.frames import (
    DESCRIPTORS,
    Ask,
    Exited,
    FrameReader,
    Gone,
    Kill,
    Message,
    Spawn,
    Spawned,
    Told,
    encode,
)
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from invoker_process.warden_client import WardenClient
from tests.plugins.runtime_process.actions import descriptors_of, entries

LONG = "x" * 20_000


class Recorded:
    """Somebody in the warden's charge."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.left = asyncio.Event()

    def exited(self, event: Exited) -> None:
        self.told.append(event)

    def gone(self) -> None:
        self.told.append("gone")
        self.left.set()


class Peer:
    """The other end of the line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = FrameReader()
        self.messages: list[Message] = []
        self.descriptors: list[int] = []

    def receive(self, count: int) -> None:
        """Read until so many messages have come."""
        while len(self.messages) < count:
            data, descriptors, _, _ = socket.recv_fds(self._connection, 1 << 16, DESCRIPTORS)
            self.descriptors += descriptors
            self.messages += self._frames.feed(data)

    def send(self, *messages: Message) -> None:
        self._connection.sendall(b"".join(map(encode, messages)))

    def close(self) -> None:
        self._connection.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


def an_order(ward: int, *argv: str) -> Spawn:
    return Spawn(ward, list(argv), {}, 1, 1, 1)


def some_descriptors() -> Sequence[int]:
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(DESCRIPTORS)]


async def test_a_full_line_keeps_the_order_and_every_descriptor() -> None:
    ours, theirs = socket.socketpair()
    client, peer = WardenClient(ours), Peer(theirs)
    before = descriptors_of(os.getpid())
    wards = range(40)  # of 20 kB each: several times what a socket takes
    async with asyncio.TaskGroup() as tasks:
        for ward in wards:
            tasks.create_task(client.spawn(an_order(ward, LONG), some_descriptors(), Recorded()))
        await asyncio.sleep(0)  # all were handed over, and few were sent
        await asyncio.to_thread(peer.receive, len(wards))
        passed = descriptors_of(os.getpid()) - before

        peer.send(*(Spawned(ward, "") for ward in wards))

    assert [message.ward for message in peer.messages if isinstance(message, Spawn)] == list(wards)
    assert len(peer.descriptors) == passed == len(wards) * DESCRIPTORS
    peer.close()
    await client.dismiss()


async def test_what_could_not_be_sent_is_closed_when_the_line_is_cut() -> None:
    ours, theirs = socket.socketpair()
    client = WardenClient(ours)
    before = descriptors_of(os.getpid())
    starts = [
        asyncio.ensure_future(client.spawn(an_order(ward, LONG), some_descriptors(), Recorded())) for ward in range(40)
    ]
    await asyncio.sleep(0)

    theirs.close()
    results = await asyncio.gather(*starts, return_exceptions=True)

    assert {type(result) for result in results} == {StartFailed}
    assert descriptors_of(os.getpid()) == before - 2
    await client.dismiss()


async def test_events_go_to_whom_they_are_about() -> None:
    ours, theirs = socket.socketpair()
    client, peer = WardenClient(ours), Peer(theirs)
    first, second = Recorded(), Recorded()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.spawn(an_order(1), some_descriptors(), first))
        tasks.create_task(client.spawn(an_order(2), some_descriptors(), second))
        await asyncio.to_thread(peer.receive, 2)
        peer.send(Spawned(2, ""), Spawned(1, ""))
    exited = Exited(2, -9, memory_exhausted=True, peak=5)

    client.kill(2)
    await asyncio.to_thread(peer.receive, 3)
    peer.send(exited, Gone(2), Gone(7))
    await second.left.wait()

    assert peer.messages[-1] == Kill(2)
    assert (first.told, second.told) == ([], [exited, "gone"])
    peer.close()
    await client.dismiss()
    assert first.told == ["gone"]


async def test_many_that_ask_for_the_same_get_one_answer_and_none_from_a_dead_warden() -> None:
    ours, theirs = socket.socketpair()
    client, peer = WardenClient(ours), Peer(theirs)
    askers = [asyncio.ensure_future(client.peak(1)) for _ in range(3)]
    await asyncio.to_thread(peer.receive, 1)
    peer.send(Told(1, 5))
    answers = await asyncio.gather(*askers)
    last = asyncio.ensure_future(client.peak(1))
    await asyncio.to_thread(peer.receive, 2)
    peer.close()

    assert answers == [5, 5, 5]
    assert peer.messages == [Ask(1), Ask(1)]
    assert await last is None
    await client.dismiss()
    assert await client.peak(1) is None


async def test_a_cancelled_start_takes_no_answer_amiss() -> None:
    ours, theirs = socket.socketpair()
    client, peer = WardenClient(ours), Peer(theirs)
    charge = Recorded()
    start = asyncio.ensure_future(client.spawn(an_order(1), some_descriptors(), charge))
    await asyncio.to_thread(peer.receive, 1)

    start.cancel()
    peer.send(Spawned(1, ""), Gone(1))
    await charge.left.wait()

    assert start.cancelled()
    peer.close()
    await client.dismiss()


async def test_a_warden_that_does_not_start_is_a_failed_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/true")
    before = descriptors_of(os.getpid())

    with pytest.raises(StartFailed, match="the warden has ended"):
        async with process_runtime(Settings.of(ProcessSettings(work_dir=tmp_path))):
            pass

    assert entries(tmp_path) == []
    assert descriptors_of(os.getpid()) <= before + 1  # a child watcher of the loop's may stay
