"""What a container prints: the engine's attach stream, read as it comes, pushed on, never held up.

`POST /containers/<id>/attach` turns its connection into frames. No task reads them and nothing here could wait, so that
a container is never stopped by its own output, and a line costs half of what aiodocker's stream takes
(core/decisions/0010).
"""

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

import httptools

from invoker.entities.container import Stream
from invoker_docker.engine import EngineClient
from invoker_docker.failures import GATEWAY, EngineDown, EngineError, answered

BUFFER: Final = 1 << 16
"""Bytes read at once, into memory that the connection keeps."""
LONGEST_ANSWER: Final = 1 << 16
"""Bytes of a head, and of a refusal."""
LARGEST_FRAME: Final = 1 << 24
"""Bytes of one frame. Engines send at most 32 KiB at once: a header that says much more is none."""
HEADER: Final = 8

_SILENCE: Final = 30
"""Seconds after which the kernel asks an engine across a network whether it is still there."""
_TAKEN: Final = frozenset({101, 200})
"""Either is followed by the raw stream: an engine that was not asked to upgrade, by some proxy between, says 200."""
_STREAMS: Final = {0 << 24: Stream.STDOUT, 1 << 24: Stream.STDOUT, 2 << 24: Stream.STDERR}
"""By the header's first word: a number and three zero bytes. 0 is standard input, which an engine may send back."""
_unpack = struct.Struct(">II").unpack_from

logger = logging.getLogger("invoker.docker")


async def attached(
    engine: EngineClient,
    container: str,
    write: Callable[[Stream, bytes], None],
    on_end: Callable[[], None],
    *,
    timeout: float,  # noqa: ASYNC109 (one limit for connecting, asking and the answer)
) -> "AttachedOutput":
    """Have all that a container prints pushed to `write` from now on; called before the start, nothing is missed.

    Raises:
        EngineError: the engine doesn't do it.
        EngineDown: it doesn't answer, or not within `timeout` seconds.
    """
    loop = asyncio.get_running_loop()
    address = engine.address
    output = AttachedOutput(container, write, on_end)
    path = f"/{engine.api}/containers/{container}/attach?stream=1&stdout=1&stderr=1"
    with contextlib.ExitStack() as failed:
        failed.callback(output.close)
        async with answered("attach", timeout, on_down=engine.on_down):
            if address.path is not None:
                await loop.create_unix_connection(lambda: output, address.path)
            else:
                await loop.create_connection(lambda: output, address.host, address.port, ssl=engine.ssl)
            await output.ask(path, address.authority)
        failed.pop_all()
    return output


class AttachedOutput(asyncio.BufferedProtocol):
    """One attached connection, from the request to the end of the output. The parser of its head calls `on_*`."""

    def __init__(self, container: str, write: Callable[[Stream, bytes], None], on_end: Callable[[], None]) -> None:
        """`on_end` is called once if the connection was taken over: nothing comes any more."""
        self._container = container
        self._on_end = on_end
        self._demultiplexer = StreamDemultiplexer(write)
        self._view = memoryview(bytearray(BUFFER))
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer_size = 0
        self._status = 0
        self._chunked = False
        self._refusal = b""
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has been taken over; fails with the reason why it isn't."""
        self._taken = False
        """Whether the connection is ours, and what comes are frames."""
        self._unwanted = False
        """We closed it, so that its end needs no explanation."""
        self.ended = asyncio.Event()
        """Nothing comes any more, and `on_end` is being called."""

    async def ask(self, path: str, authority: str) -> None:
        """Send the request and wait until it is taken.

        Raises:
            EngineError: it is refused.
            EngineDown: the connection ended, or what came is no answer.
        """
        assert self._transport is not None  # noqa: S101 (connected)
        self._transport.write(
            f"POST {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Length: 0\r\n\r\n".encode()
        )
        await self._answered

    async def finish(self, patience: float) -> None:
        """Wait for the end of the output, and make one after `patience` seconds: nothing is left of the container."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.ended.wait()
        self.close()
        await self.ended.wait()

    def close(self) -> None:
        """Read no more: nothing is left of the container, or it is of no interest."""
        self._unwanted = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)
        connection = transport.get_extra_info("socket")
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`.

        A view: asyncio's TLS reads into slices, and one of a bytearray is a copy. All that TLS says is there (at most
        256 KiB) is taken at once: at the end of a connection it reads once more, and drops the rest.
        """
        if sizehint > len(self._view):
            self._view = memoryview(bytearray(sizehint))
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`. On the way of every line that a function prints."""
        if self._taken:
            self._demultiplex(self._view, nbytes)
        else:
            self._read_answer(bytes(self._view[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._view = memoryview(b"")  # 64 KiB less to wait for the garbage collector with the container
        if not self._taken:
            self.on_message_complete()  # a refusal without a length is whole, anything else never came
            ending = exc or "closed by the engine"
            self._refuse(EngineDown(f"attach: the connection ended without an answer: {ending}"))
            return
        if not self._unwanted and (exc is not None or not self._demultiplexer.between_frames):
            logger.error("%s: its output was cut off: %s", self._container, exc or "in the middle of a frame")
        self.ended.set()
        self._on_end()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what would be between us and the stream."""
        if name.lower() == b"transfer-encoding":
            self._chunked = value.lower() != b"identity"

    def on_headers_complete(self) -> None:
        """A status and its headers are there."""
        self._status = self._parser.get_status_code()
        if self._status not in _TAKEN:
            return
        if self._chunked:
            self._refuse(EngineError(None, "attach: what is between here and the engine changes the stream"))
        elif not self._answered.done():
            self._answered.set_result(None)
            self._taken = True

    def on_body(self, data: bytes) -> None:
        """What came with the head: the stream, or why there is none."""
        if self._taken:
            self._demultiplex(memoryview(data), len(data))
        else:
            self._refusal += data

    def on_message_complete(self) -> None:
        """A refusal is whole."""
        if self._status < 200 or self._status in _TAKEN:  # noqa: PLR2004 (informational: the answer comes after it)
            return
        text = self._refusal.decode(errors="replace").strip() or "refused"
        with contextlib.suppress(ValueError, LookupError, TypeError):
            text = str(json.loads(text)["message"])
        text = f"attach: {text}"
        self._refuse(EngineDown(text) if self._status in GATEWAY else EngineError(self._status, text))

    def _read_answer(self, data: bytes) -> None:
        self._answer_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if rest := data[upgrade.args[0] :]:
                self.on_body(rest)
        except httptools.HttpParserError as error:
            self._refuse(EngineDown(f"attach: no answer that makes sense: {error.__context__ or error}"))
        if self._answer_size > LONGEST_ANSWER:
            self._refuse(EngineDown(f"attach: no answer within {LONGEST_ANSWER} bytes"))

    def _refuse(self, error: EngineError) -> None:
        """Have nothing come of it, unless it has been decided already."""
        if not self._answered.done():
            self._answered.set_exception(error)
            self._answered.exception()  # seen, even if whoever waited has gone

    def _demultiplex(self, view: memoryview, end: int) -> None:
        try:
            self._demultiplexer.feed(view, end)
        except BadFrame as error:
            logger.error("%s: its output can't be read any more: %s", self._container, error)  # noqa: TRY400 (its words do)
            self.close()


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
            self._begin(header, 0)
        while at < end:
            if not self._left:
                if end - at < HEADER:
                    self._partial = bytes(view[at:end])
                    return
                self._begin(view, at)
                at += HEADER
            stop = min(at + self._left, end)
            if stop > at:  # a frame may be empty, and its payload may come later
                self._left -= stop - at
                self._write(self._stream, bytes(view[at:stop]))
                at = stop

    def _begin(self, source: bytes | memoryview, at: int) -> None:
        word, left = _unpack(source, at)
        if word not in _STREAMS or left > LARGEST_FRAME:
            raise BadFrame(bytes(source[at : at + HEADER]))
        self._stream, self._left = _STREAMS[word], left
