"""What a container prints: the engine's attach stream, read as it comes, pushed on, never held up.

`POST /containers/<id>/attach` turns its connection into frames. No task reads them and nothing here could wait, so that
a container is never stopped by its own output. Beside aiodocker's `Stream`, which a task has to read, on two cores, the
sender being another process:

| | asyncio: here, aiodocker | uvloop: here, aiodocker |
|---|---|---|
| µs of CPU for a frame of 100 bytes that comes alone, wake-up included | 11, 25 | 9.5, 12 |
| MB for a second of CPU, 100 MB in frames of 32 KiB | 5,800, 3,700 | 7,900, 3,100 |

Of the first, 0.5 µs is the taking apart.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final, cast

from invoker.contracts import Output
from invoker_docker.answers import EngineDown
from invoker_docker.engine import Engine
from invoker_docker.frames import BadFrame, FrameReader
from invoker_docker.upgrade import UpgradeReader

BUFFER: Final = 1 << 16
"""Bytes read at once, into memory that the connection keeps."""

_SILENCE: Final = 30
"""Seconds after which the kernel asks an engine across a network whether it is still there."""

logger = logging.getLogger("invoker.docker")


async def attached(
    engine: Engine,
    container: str,
    output: Output,
    on_end: Callable[[], None],
    *,
    timeout: float,  # noqa: ASYNC109 (one limit for connecting, asking and the answer)
) -> "Attachment":
    """Have all that a container prints pushed to `output` from now on; called before the start, nothing is missed.

    `output` is told of the end, and then `on_end` is called.

    Raises:
        EngineError: the engine doesn't do it.
        EngineDown: it doesn't answer, or not within `timeout` seconds.
    """
    loop = asyncio.get_running_loop()
    address = engine.address
    attachment = Attachment(container, output, on_end)
    path = f"/{engine.api}/containers/{container}/attach?stream=1&stdout=1&stderr=1"
    with contextlib.ExitStack() as failed:
        failed.callback(attachment.close)
        try:
            async with asyncio.timeout(timeout):
                if address.path is not None:
                    await loop.create_unix_connection(lambda: attachment, address.path)
                else:
                    await loop.create_connection(lambda: attachment, address.host, address.port, ssl=engine.ssl)
                await attachment.ask(path, address.authority)
        except TimeoutError:
            raise EngineDown(f"attach: no answer within {timeout:g} s") from None
        except OSError as error:
            raise EngineDown(f"attach: {error}") from error
        failed.pop_all()
    return attachment


class Attachment(asyncio.BufferedProtocol):
    """One attached connection, from the request to the end of the output."""

    def __init__(self, container: str, output: Output, on_end: Callable[[], None]) -> None:
        self._container = container
        self._output = output
        self._on_end = on_end
        self._frames = FrameReader(output.write)
        self._view = memoryview(bytearray(BUFFER))
        self._transport: asyncio.Transport | None = None
        self._answer = UpgradeReader(self._feed_rest)
        self._taken = False
        """Whether the connection is ours, and what comes are frames."""
        self._unwanted = False
        """We closed it, so that its end needs no explanation."""
        self.ended = asyncio.Event()
        """Nothing comes any more, and `output` knows."""

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
        await self._answer.taken

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
        if not self._taken:
            self._answer.read(bytes(self._view[:nbytes]))
            self._taken = self._answer.accepted
            return
        try:
            self._frames.feed(self._view, nbytes)
        except BadFrame as error:
            self._give_up(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._view = memoryview(b"")  # 64 KiB less to wait for the garbage collector with the container
        self._answer.end(exc)
        if not self._taken:
            return
        if not self._unwanted and (exc is not None or not self._frames.between_frames):
            logger.error("%s: its output was cut off: %s", self._container, exc or "in the middle of a frame")
        self._output.closed()
        self.ended.set()
        self._on_end()

    def _feed_rest(self, data: bytes) -> None:
        """Take what came in one piece with the head."""
        try:
            self._frames.feed(memoryview(data), len(data))
        except BadFrame as error:
            self._give_up(error)

    def _give_up(self, error: BadFrame) -> None:
        logger.error("%s: its output can't be read any more: %s", self._container, error)
        self.close()
