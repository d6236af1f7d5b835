"""What the invoker and its warden say to each other: frames on a Unix stream, descriptors beside them.

A frame is four bytes of length and a JSON array: the message's name, then its fields. Both ends import this module; the
warden runs without third-party packages, so only the standard library is used here.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

DESCRIPTORS: Final = 4
"""Descriptors that accompany a `Spawn`, in this order: stdin, stdout, stderr, the listening socket."""

_LENGTH: Final = struct.Struct("!I")


class Spawn(NamedTuple):
    """Start a container's first process. Answered by `Spawned`."""

    ward: int
    """Number of the container, never used again."""
    argv: list[str]
    """What to run; `LISTENER` is the number the listening socket has there."""
    environment: dict[str, str]
    """All of it but `HOME` and `TMPDIR`, which are the work directory that the warden makes."""
    memory: int
    """Bytes that all of its processes together may have resident."""
    open_files: int
    file_size: int
    """Rlimits of each process."""


class Kill(NamedTuple):
    """End every process of a container and delete its work directory. Answered by `Gone`, once that is done."""

    ward: int


class Ask(NamedTuple):
    """Say how much memory a container has had at most. Answered by `Told`."""

    ward: int


class Told(NamedTuple):
    """The answer to `Ask`."""

    ward: int
    peak: int | None
    """Bytes, as far as was seen; `None` if nobody can tell, or there is no such container."""


class Ready(NamedTuple):
    """The warden's first words: it serves."""

    memory: str
    """How memory is limited: the control group it makes others in, or empty if it samples."""
    obstacle: str
    """Why it samples; empty if it was told to."""


class Refused(NamedTuple):
    """The warden's only words: it can't serve."""

    reason: str


class Spawned(NamedTuple):
    """A container's first process runs, or nothing came of it."""

    ward: int
    error: str
    """Empty if it runs."""


class Exited(NamedTuple):
    """A container's first process has ended, by itself or not; what it leaves behind is being killed."""

    ward: int
    code: int
    """Exit code; negative is a signal's number."""
    memory_exhausted: bool
    peak: int | None
    """Bytes of memory it had at most, as far as was seen."""


class Gone(NamedTuple):
    """Nothing of the container is left: no process, no work directory."""

    ward: int


Message: TypeAlias = Spawn | Kill | Ask | Told | Ready | Refused | Spawned | Exited | Gone

LISTENER: Final = DESCRIPTORS - 1
"""Number of the listening socket in a container's first process: 0, 1 and 2 are its standard streams."""

_MESSAGES: Final[Mapping[str, type[Message]]] = {
    message.__name__: message for message in (Spawn, Kill, Ask, Told, Ready, Refused, Spawned, Exited, Gone)
}


def encode(message: Message) -> bytes:
    """Return the frame of a message."""
    body = json.dumps([type(message).__name__, *message]).encode()
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Bytes in, in any pieces; messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            name, *fields = json.loads(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _MESSAGES[name](*fields)
