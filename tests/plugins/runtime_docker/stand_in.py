"""An engine that answers as a test says: for what a healthy one never does."""

import asyncio
import json
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION = {"Version": "1.2.3", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux"}
INFO = {"OSType": "linux", "CgroupVersion": "2"}

_VERSIONED = re.compile(r"/v\d+\.\d+(?=/)")


class StandIn:
    """Answers by `METHOD /path`, without the version of the API; what has no answer is not found."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        """Everything, in order, with version and query."""
        self.answers: dict[str, Answer] = {
            "GET /version": says(VERSION),
            "GET /info": says(INFO),
            "GET /_ping": says("OK"),
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        await request.read()
        path = _VERSIONED.sub("", request.path, count=1)
        answer = self.answers.get(f"{request.method} {path}", says({"message": "page not found"}, status=404))
        return await answer(request)


def says(body: Any, status: int = 200) -> Answer:
    """Answer with JSON, or with plain text."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if isinstance(body, str):
            return web.Response(text=body, status=status)
        return web.json_response(body, status=status)

    return answer


async def never(request: web.Request) -> web.StreamResponse:
    """Don't answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def cut(request: web.Request) -> web.StreamResponse:
    """Promise more than there is."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b'{"Id": "ab')
    assert request.transport is not None
    request.transport.close()
    return response


@asynccontextmanager
async def stand_in(context: ssl.SSLContext | None = None) -> AsyncIterator[StandIn]:
    """Run one: on a Unix socket, or with TLS on a port."""
    engine = StandIn()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    with tempfile.TemporaryDirectory() as folder:  # pytest's own paths are too long for a socket
        path = Path(folder) / "engine.sock"
        site: web.BaseSite
        if context is None:
            site, engine.url = web.UnixSite(runner, str(path), backlog=1024), f"unix://{path}"
        else:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        if context is not None:
            engine.url = f"tcp://localhost:{runner.addresses[0][1]}"
        try:
            yield engine
        finally:
            await runner.cleanup()


@asynccontextmanager
async def raw_stand_in(reply: bytes, to: bytes = b"") -> AsyncIterator[str]:
    """Run something that isn't even HTTP where a request has `to` in its first line; yield its address."""
    version = json.dumps(VERSION).encode()
    otherwise = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(version), version)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(reply if to in request.partition(b"\r\n")[0] else otherwise)
        await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/engine.sock"
        server = await asyncio.start_unix_server(serve, path)
        async with server:
            yield f"unix://{path}"
