"""The channel between invoker and supervisor: messages come out as they went in, with what accompanies them."""

import os
import socket
from collections.abc import Iterator

import pytest

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
    SupervisorReady,
    close_all,
)

Ends = tuple[socket.socket, socket.socket]

START = StartChild(1, ["/usr/bin/python"], {"LANG": "C.UTF-8", "HOST": "https://ö"}, 1 << 28, 64, 1024, 1 << 30)
MESSAGES: list[Message] = [
    START,
    KillChild(2),
    MemoryUse(2),
    MemoryUse(2, 7 << 20),
    SupervisorReady("", "control groups in /sys/fs/cgroup/x"),
    SupervisorReady("no"),
    ChildStarted(1, ""),
    ChildExited(3, -9, peak=123, exhausted=True, remark=""),
    ChildExited(4, 0, peak=None, exhausted=False, remark="too many"),
    ChildGone(5),
]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def accompanying(message: Message) -> list[int]:
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(STREAMS if message is START else 0)]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_out_as_it_went_in_with_its_descriptors(ends: Ends, message: Message) -> None:
    ours, theirs = map(MessageChannel, ends)

    assert ours.send(message, accompanying(message))
    [(received, descriptors)] = theirs.receive()

    assert received == message
    assert type(received) is type(message)
    assert len(descriptors) == (STREAMS if message is START else 0)
    close_all(descriptors)  # which fails if one isn't open


def test_a_message_that_is_too_long_is_refused_and_its_descriptors_closed(ends: Ends) -> None:
    ours, theirs = map(MessageChannel, ends)
    descriptors = accompanying(START)

    with pytest.raises(ValueError, match="bytes are too many"):
        ours.send(START._replace(environment={"LONG": "x" * (1 << 17)}), descriptors)

    assert list(theirs.receive()) == []
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_the_end_of_the_peer_is_noted(ends: Ends) -> None:
    ours, theirs = map(MessageChannel, ends)
    ours.send(KillChild(1))
    ends[0].close()

    received = theirs.receive()

    assert next(received) == (KillChild(1), [])
    assert not theirs.ended
    assert list(received) == []
    assert theirs.ended
    assert theirs.send(ChildGone(1))  # to nobody
