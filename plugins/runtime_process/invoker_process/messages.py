"""What the invoker and its supervisor say to each other: packets on a Unix socket, with descriptors beside them.

A packet is a JSON array, the message's name and its fields. The supervisor runs without third-party packages, so only
the standard library is used here.
"""

import errno
import json
import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias, get_args

STREAMS: Final = 3
"""Descriptors that accompany a `StartChild`: the child's standard streams. Its listening socket has the next number."""

_LONGEST: Final = 1 << 17
"""Bytes of a packet. It holds the environment of a process, of which Linux takes no longer variable."""
_NO_ROOM: Final = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS))
"""What a socket says that takes no more just now; the last is about descriptors on their way."""


class StartChild(NamedTuple):
    """Start the first process of a container. Answered by `ChildStarted`."""

    number: int  # of the container, never used again
    argv: list[str]
    environment: dict[str, str]  # without `HOME` and `TMPDIR`, the working directory that the supervisor makes
    memory: int  # bytes that all of its processes together may have resident
    processes: int  # how many it may have, threads included
    open_files: int  # an rlimit of each process
    file_size: int  # another, in bytes


class KillChild(NamedTuple):
    """End every process of a container and delete its working directory. Answered by `ChildGone`, once that is done."""

    number: int


class MemoryUse(NamedTuple):
    """Say what memory a living container has had; and the answer."""

    number: int
    peak: int | None = None  # bytes at most, as far as was seen; `None` if nobody can tell
    exhausted: bool = False  # it reached its limit, and is killed: one process of it may be gone already


class SupervisorReady(NamedTuple):
    """The supervisor's first words."""

    error: str  # why it can't serve, and leaves; empty if it serves
    limits: str = ""  # how containers are limited: by control groups, and where those are, or by sampling, and why


class ChildStarted(NamedTuple):
    """The first process of a container runs; its socket's only path is `/proc/self/fd/…` of what accompanies this."""

    number: int
    error: str  # why nothing came of it; empty if it runs


class ChildExited(NamedTuple):
    """The first process of a container has ended, by itself or not; what it leaves behind is being killed."""

    number: int
    code: int  # exit code; negative is a signal's number
    peak: int | None
    exhausted: bool
    remark: str  # what its end has to do with the limit of processes; empty if nothing


class ChildGone(NamedTuple):
    """Nothing of the container is left: no process, no working directory."""

    number: int


Message: TypeAlias = StartChild | KillChild | MemoryUse | SupervisorReady | ChildStarted | ChildExited | ChildGone
_MESSAGES: Final[dict[str, type[Message]]] = {message.__name__: message for message in get_args(Message)}


class MessageChannel:
    """One end of a `SOCK_SEQPACKET` pair. Nothing waits here: what the peer doesn't take is kept, so none stops us."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003 (takes no keyword)
        self.fileno = connection.fileno
        self._connection = connection
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()
        self.ended = False
        """The peer will say nothing more."""

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Send it, or keep it until `flush`; its descriptors are closed here. Return whether everything was sent.

        Raises:
            ValueError: it is too long.
        """
        packet = json.dumps([type(message).__name__, *message]).encode()
        if len(packet) > _LONGEST:
            close_all(descriptors)
            raise ValueError(f"{len(packet)} bytes are too many for the supervisor")
        self._unsent.append((packet, descriptors))
        return self.flush()

    def flush(self) -> bool:
        """Send what can be sent now; return whether that was everything."""
        while self._unsent:
            packet, descriptors = self._unsent[0]
            try:
                socket.send_fds(self._connection, [packet], list(descriptors))
            except OSError as error:
                if error.errno in _NO_ROOM:
                    return False
                self.drop()  # nobody is there to read it; who reads will learn of it
                return True
            self._unsent.popleft()
            close_all(descriptors)
        return True

    def drop(self) -> None:
        """Forget what was not sent."""
        while self._unsent:
            close_all(self._unsent.popleft()[1])

    def receive(self) -> Iterator[tuple[Message, list[int]]]:
        """Yield what came, each message with its descriptors, which are the caller's to close; note the end."""
        while not self.ended:
            try:
                packet, passed, _, _ = socket.recv_fds(self._connection, _LONGEST, STREAMS, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                packet, passed = b"", []
            if packet:
                name, *fields = json.loads(packet)
                yield _MESSAGES[name](*fields), passed
            else:
                self.ended = True


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
