"""What a container prints: read as it comes, pushed on, never held up."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final

from invoker.contracts import Output
from invoker.entities.container import Stream

CHUNK: Final = 1 << 16
"""Bytes read at once: what a pipe holds. A larger buffer costs 10 µs more, for it is mapped anew each time."""
LAST: Final = 16
"""Chunks that are read when all writers are dead. A pipe holds one; more come only from somebody who hides."""


class OutputPipes:
    """The reading ends of both streams.

    `add_reader` and one `read` cost 1.9 µs per small chunk with uvloop and 3.2 with asyncio; `connect_read_pipe` 1.7
    and 17, for asyncio's reads 256 KiB.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, Stream] = {}
        self._closed = False

    def attach(self, stream: Stream) -> int:
        """Make a pipe, read it from now on, and return the end to write to, which is the caller's.

        Raises:
            OSError: there is no descriptor left.
        """
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        self._open[readable] = stream
        self._loop.add_reader(readable, self._reading(readable, stream))
        return writable

    def close(self) -> None:
        """Take what is left in the pipes, close them, and say so once."""
        for descriptor, stream in list(self._open.items()):
            with contextlib.suppress(BlockingIOError):
                for _ in range(LAST):
                    if not (chunk := os.read(descriptor, CHUNK)):
                        break
                    self._output.write(stream, chunk)
            self._end(descriptor)
        if not self._closed:  # there was no pipe at all
            self._closed = True
            self._output.closed()

    def _reading(self, descriptor: int, stream: Stream) -> Callable[[], None]:
        """Return what reads one chunk. A closure: no attribute is looked up on the way of an invocation."""
        read = os.read
        write = self._output.write

        def one_chunk() -> None:
            try:
                chunk = read(descriptor, CHUNK)
            except BlockingIOError:
                return
            if chunk:
                write(stream, chunk)
            else:
                self._end(descriptor)

        return one_chunk

    def _end(self, descriptor: int) -> None:
        del self._open[descriptor]
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        if not self._open and not self._closed:
            self._closed = True
            self._output.closed()
