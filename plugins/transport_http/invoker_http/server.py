"""The data listener on aiohttp's low-level server. It reads; the door decides and `Response` writes."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from invoker_http.accepting import FLUSH, LINGER, accepting
from invoker_http.context import context_of
from invoker_http.door import BAD_REQUEST, HEAD_TOO_LARGE, TOO_SLOW, Door
from invoker_http.reply import Reply
from invoker_http.request_reader import HEAD_LIMIT
from invoker_http.response import INVITATION, Response
from invoker_http.settings import HttpSettings

logger = logging.getLogger("invoker.http")

_MUCH: Final = 1 << 16
"""Bytes of an answer that may wait in memory while the next request on the connection is read."""


@asynccontextmanager
async def listening(
    door: Door, settings: HttpSettings, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Serve the door on bound sockets; leaving shuts it, waits for what runs, and closes every connection."""
    async with accepting(door, _Connections(door, settings), sockets, tls):
        yield


class _Connections:
    """All connections of a listener."""

    def __init__(self, door: Door, settings: HttpSettings) -> None:
        self._keep_alive = float(settings.keep_alive)
        self._server = web.Server(_Handler(door, settings))
        self._transports: set[asyncio.BaseTransport] = set()
        self._none_left = asyncio.Event()
        self._silent: set[asyncio.BaseTransport] = set()
        """Of those, the ones that nothing has come from."""
        self._all_spoke = asyncio.Event()

    def accept(self) -> "_Connection":
        """See `accepting.Connections`."""
        return _Connection(
            self,
            self._server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._keep_alive,
            access_log=None,
            lingering_time=LINGER,
            auto_decompress=False,
            max_line_size=HEAD_LIMIT,
            max_field_size=HEAD_LIMIT,
        )

    def came(self, transport: asyncio.BaseTransport) -> None:
        """Note a connection."""
        self._transports.add(transport)
        self._silent.add(transport)

    def went(self, transport: asyncio.BaseTransport) -> None:
        """Note its end."""
        self._transports.discard(transport)
        self.spoke(transport)
        if not self._transports:
            self._none_left.set()

    def spoke(self, transport: asyncio.BaseTransport) -> None:
        """Note that something came."""
        self._silent.discard(transport)
        if not self._silent:
            self._all_spoke.set()

    async def close(self) -> None:
        """See `accepting.Connections`."""
        try:
            await self._first_requests()
            self._server.pre_shutdown()  # wakes those that wait for a request
            await self._server.shutdown(FLUSH)
            if self._transports:
                self._none_left.clear()
                async with asyncio.timeout(FLUSH):
                    await self._none_left.wait()
        except TimeoutError:
            logger.debug("some callers did not take their answers")
        finally:
            for transport in self._transports:
                transport.abort()  # type: ignore[attr-defined] # streams all have it

    async def _first_requests(self) -> None:
        if self._silent:
            self._all_spoke.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await self._all_spoke.wait()


class _Handler:
    """What aiohttp calls for each request."""

    def __init__(self, door: Door, settings: HttpSettings) -> None:
        self._door = door
        self._patience = float(settings.body_timeout)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None:  # the caller left before anybody looked
            return _Written(keep_alive=False)
        response = Response(transport, chunked=request.version >= HttpVersion11, keep_alive=request.keep_alive)
        read = self._refused(request) or await self._body(request, transport)
        if isinstance(read, Reply):
            response.whole(read, bodyless=request.method == "HEAD")
            if read.closes:
                response.half_close()
        else:
            await self._door.take(read, context_of(request.raw_headers), response)
        if transport.get_write_buffer_size() > _MUCH:
            await self._taken(request, transport)
        return _Written(keep_alive=response.keep_alive)

    def _refused(self, request: web.BaseRequest) -> Reply | None:
        reply = self._door.refusal(
            request.method.encode(),
            _octets(request.raw_path),
            _octets(request.headers.get("Authorization", "")),
            request.content_length or 0,
        )
        if reply is not None and not reply.closes and request.body_exists:
            return msgspec.structs.replace(reply, closes=True)  # the body is not worth reading
        return reply

    async def _body(self, request: web.BaseRequest, transport: asyncio.Transport) -> bytes | Reply:
        content = request.content
        if content.is_eof():  # as usual: it came with the head
            return content.read_nowait()
        if request.headers.get("Expect", "").lower() == "100-continue":
            transport.write(INVITATION)
        body = bytearray()
        try:
            async with asyncio.timeout(self._patience):
                while not content.at_eof():
                    body += await content.readany()
                    if len(body) > self._door.limit:
                        return self._door.too_large
        except TimeoutError:
            return TOO_SLOW
        except web.RequestPayloadError:
            return BAD_REQUEST
        return bytes(body)

    async def _taken(self, request: web.BaseRequest, transport: asyncio.Transport) -> None:
        """Wait until the caller has read most of its answer: one connection holds one answer."""
        try:
            async with asyncio.timeout(self._patience):
                await request.writer.drain()
        except TimeoutError:
            transport.abort()
        except ConnectionError:
            logger.debug("a caller left before it had read its answer")


class _Connection(RequestHandler):
    """One caller's connection: tells its owner when it begins and ends, and complains as the other listener does."""

    def __init__(self, owner: _Connections, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._own = transport
        self._owner.came(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        self._owner.spoke(self._own)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._owner.went(self._own)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (it may repeat what a stranger sent)
    ) -> web.StreamResponse:
        """Answer what can't be read; a request that broke us has no answer."""
        transport = request.transport
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("a connection broke", exc_info=exc)
            if transport is not None:
                transport.abort()
        elif transport is not None:
            reply = HEAD_TOO_LARGE if isinstance(exc, LineTooLong) else BAD_REQUEST
            Response(transport, chunked=True, keep_alive=False).whole(reply)
        return _Written(keep_alive=False)


class _Written(web.StreamResponse):
    """Stands for a response that is on its way: aiohttp has nothing left to do but to keep the connection, or not."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._kept = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow."""
        return self._kept

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        """Do nothing: the header is written."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the body is written."""


def _octets(text: str) -> bytes:
    """Return what aiohttp has decoded as it came."""
    return text.encode("utf-8", "surrogateescape")
