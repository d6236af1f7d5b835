"""What a container prints: the engine's attach stream, read as it comes, pushed on, never held up.

`POST /containers/<id>/attach` turns its connection into frames. No task reads them and nothing here could wait, so that
a container is never stopped by its own output (core/decisions/0010).
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import Callable
from typing import Final

import aiohttp

from invoker.entities.container import Stream

LARGEST_FRAME: Final = 1 << 24  # bytes. Engines send at most 32 KiB at once: a header that says much more is none
HEADER: Final = 8

_STREAMS: Final = {0 << 24: Stream.STDOUT, 1 << 24: Stream.STDOUT, 2 << 24: Stream.STDERR}
"""By the header's first word: a number and three zero bytes. 0 is standard input, which an engine may send back."""
_unpack = struct.Struct(">II").unpack_from

logger = logging.getLogger("invoker.docker")


class AttachedOutput:
    """The output of one container. Its connection, which `EngineClient.attach` makes, calls `feed_…`."""

    def __init__(self, container: str, write: Callable[[Stream, bytes], None], on_end: Callable[[], None]) -> None:
        """`on_end` is called once if it was attached: nothing comes any more."""
        self._container = container
        self._on_end = on_end
        self._demultiplexer = StreamDemultiplexer(write)
        self.response: aiohttp.ClientResponse | None = None  # the engine's answer, which the output follows
        self._unwanted = False  # we closed it, so that its end needs no explanation
        self.ended = asyncio.Event()  # nothing comes any more, and `on_end` is being called

    async def finish(self, patience: float) -> None:
        """Wait for the end of the output, and make one after `patience` seconds: nothing is left of the container."""
        if self.response is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.ended.wait()
        self.close()
        await self.ended.wait()

    def close(self) -> None:
        """Read no more: nothing is left of the container, or it is of no interest."""
        self._unwanted = True
        connection = None if self.response is None else self.response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take what came, as aiohttp's own parsers do. On the way of every line that a function prints."""
        try:
            self._demultiplexer.feed(data)
        except BadFrame as error:
            text = "%s: its output can't be read any more: %s"
            logger.error(text, self._container, error)  # noqa: TRY400 (where it was read says nothing)
            self.close()
        return False, b""

    def feed_eof(self) -> None:
        """Learn that the connection has ended. aiohttp would hide what is raised here: it is the loop's to tell."""
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        if not self._unwanted and not self._demultiplexer.between_frames:
            logger.error("%s: its output was cut off in the middle of a frame", self._container)
        if self.response is not None:
            self.response.close()
        self.ended.set()
        self._on_end()


class BadFrame(Exception):
    """What should be a header is none: from here on nobody knows what is what."""

    def __init__(self, header: bytes) -> None:
        self.header = header
        super().__init__(f"{header.hex(' ')} is no header of a frame")


class StreamDemultiplexer:
    """Takes the engine's frames apart: bytes in, in any pieces; output out, without waiting for the end of a frame."""

    __slots__ = ("_left", "_partial", "_stream", "_write")

    def __init__(self, write: Callable[[Stream, bytes], None]) -> None:
        self._write = write
        self._stream = Stream.STDOUT
        self._left = 0  # bytes that are missing of the frame's payload
        self._partial = b""  # the first bytes of a header whose others haven't come

    @property
    def between_frames(self) -> bool:
        """Whether the stream may end here."""
        return not self._left and not self._partial

    def feed(self, data: bytes) -> None:
        """Take the next piece; what is in front of a `BadFrame` is passed on."""
        if self._partial:
            data, self._partial = self._partial + data, b""
        at, end = 0, len(data)
        while at < end:
            if not self._left:
                if end - at < HEADER:
                    self._partial = data[at:]
                    return
                word, left = _unpack(data, at)
                if word not in _STREAMS or left > LARGEST_FRAME:
                    raise BadFrame(data[at : at + HEADER])
                self._stream, self._left = _STREAMS[word], left
                at += HEADER
            stop = min(at + self._left, end)
            if stop > at:  # a frame may be empty, and its payload may come later
                self._left -= stop - at
                self._write(self._stream, data[at:stop])
                at = stop
