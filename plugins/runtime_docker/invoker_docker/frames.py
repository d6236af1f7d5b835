"""The engine's framing of two streams on one connection: bytes in, in any pieces; output out, as it comes."""

import struct
from collections.abc import Callable
from typing import Final

from invoker.entities.container import Stream

LARGEST: Final = 1 << 24
"""Bytes of one frame. Engines send at most 32 KiB at once: a header that says much more is none."""
HEADER: Final = 8

_unpack = struct.Struct(">II").unpack_from
_STREAMS: Final = {0 << 24: Stream.STDOUT, 1 << 24: Stream.STDOUT, 2 << 24: Stream.STDERR}
"""By the header's first word: a number and three zero bytes. 0 is standard input, which an engine may send back."""


class BadFrame(Exception):
    """What should be a header is none: from here on nobody knows what is what."""

    def __init__(self, header: bytes) -> None:
        self.header = header
        super().__init__(f"{header.hex(' ')} is no header of a frame")


class FrameReader:
    """Passes on what is in the frames, without waiting for the end of one."""

    __slots__ = ("_left", "_partial", "_stream", "_write")

    def __init__(self, write: Callable[[Stream, bytes], None]) -> None:
        self._write = write
        self._stream = Stream.STDOUT
        self._left = 0
        """Bytes that are missing of the frame's payload."""
        self._partial = b""
        """The first bytes of a header whose others haven't come."""

    @property
    def between_frames(self) -> bool:
        """Whether the stream may end here."""
        return not self._left and not self._partial

    def feed(self, view: memoryview, end: int) -> None:
        """Take the first `end` bytes of a view, which is the caller's again afterwards.

        Raises:
            BadFrame: what is in front of it was passed on.
        """
        at = 0
        if self._partial:
            at = min(HEADER - len(self._partial), end)
            self._partial += view[:at]
            if len(self._partial) < HEADER:
                return
            header, self._partial = self._partial, b""
            self._begin(header)
        while at < end:
            left = self._left
            if not left:
                if end - at < HEADER:
                    self._partial = bytes(view[at:end])
                    return
                word, left = _unpack(view, at)
                if word not in _STREAMS or left > LARGEST:
                    raise BadFrame(bytes(view[at : at + HEADER]))
                self._stream = _STREAMS[word]
                at += HEADER
                if not left or at == end:
                    self._left = left
                    continue
            stop = min(at + left, end)
            self._left = left - (stop - at)
            self._write(self._stream, bytes(view[at:stop]))
            at = stop

    def _begin(self, header: bytes) -> None:
        word, left = _unpack(header)
        if word not in _STREAMS or left > LARGEST:
            raise BadFrame(header)
        self._stream, self._left = _STREAMS[word], left
