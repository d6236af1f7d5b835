"""The warden's end of the line to its invoker."""

import contextlib
import os
import selectors
import socket
from collections import deque
from collections.abc import Iterator
from typing import Final

from invoker_process.frames import DESCRIPTORS, FrameReader, Message, Spawn, encode

_MUCH: Final = 1 << 16
_CLOEXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # elsewhere than on Linux: the spawned close what they have


class Line:
    """Reads requests with their descriptors, sends answers, never waits: an invoker that is stuck can't stop us."""

    def __init__(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        self._connection = connection
        self._selector = selector
        self._frames = FrameReader()
        self._descriptors: deque[int] = deque()
        self._unsent = bytearray()
        self.open = True
        """Whether the invoker may still ask for something."""
        connection.settimeout(0)
        selector.register(connection, selectors.EVENT_READ)

    def requests(self) -> Iterator[tuple[Message, list[int]]]:
        """Yield what came, each with the descriptors that accompany it, which are the caller's to close."""
        if self._unsent:
            self._flush()
        for message in self._frames.feed(self._receive()):
            count = DESCRIPTORS if isinstance(message, Spawn) else 0
            yield message, [self._descriptors.popleft() for _ in range(count)]

    def send(self, message: Message) -> None:
        """Send an answer or an event."""
        self._unsent += encode(message)
        self._flush()

    def _receive(self) -> bytes:
        if not self.open:
            return b""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._connection, _MUCH, DESCRIPTORS, _CLOEXEC)
        except BlockingIOError:
            return b""
        except OSError:
            data, descriptors = b"", []
        self._descriptors.extend(descriptors)
        if not data:
            self.open = False
            self._listen()
        return data

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                while self._unsent:
                    del self._unsent[: self._connection.send(self._unsent)]
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
                self._unsent.clear()  # nobody is there to read it
        self._listen()

    def _listen(self) -> None:
        """Wait for what there is to wait for."""
        wanted = (selectors.EVENT_READ if self.open else 0) | (selectors.EVENT_WRITE if self._unsent else 0)
        registered = self._connection in self._selector.get_map()
        if not wanted and registered:
            self._selector.unregister(self._connection)
        elif wanted and registered:
            self._selector.modify(self._connection, wanted)
        elif wanted:
            self._selector.register(self._connection, wanted)


def close(descriptors: list[int]) -> None:
    """Close descriptors that were passed."""
    for descriptor in descriptors:
        os.close(descriptor)
