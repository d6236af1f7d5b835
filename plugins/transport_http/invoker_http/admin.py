"""The listener for operators: is it alive, may it be given work, how does it do (spec 12.3). Nobody logs in."""

import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from invoker.contracts import Operations

_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_PATIENCE: Final = 1.0
"""Seconds that requests have to end when the listener closes; none takes long."""


@asynccontextmanager
async def listening(
    operations: Operations, sockets: Sequence[socket.socket], stopping: Callable[[], bool]
) -> AsyncIterator[None]:
    """Answer operators on bound sockets. `stopping` tells whether work is still taken."""
    runner = web.ServerRunner(web.Server(_Pages(operations, stopping), access_log=None), shutdown_timeout=_PATIENCE)
    await runner.setup()
    try:
        for one in sockets:
            await web.SockSite(runner, one).start()
        yield
    finally:
        await runner.cleanup()


class _Pages:
    """What aiohttp calls for each request."""

    def __init__(self, operations: Operations, stopping: Callable[[], bool]) -> None:
        self._operations = operations
        self._stopping = stopping
        self._pages: Mapping[str, Callable[[], web.Response]] = {
            "/ping": self._ping,
            "/livez": self._alive,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/info": self._info,
            "/pool": self._pool,
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if page is None:
            return _error(404, f"there is nothing at this path; there is {', '.join(self._pages)}")
        if request.method not in ("GET", "HEAD"):
            return _error(405, "this is asked by GET", Allow="GET, HEAD")
        return page()

    def _ping(self) -> web.Response:
        return _response(200, b"pong", _TEXT)

    def _alive(self) -> web.Response:
        return _response(200, b"alive", _TEXT)

    def _ready(self) -> web.Response:
        faults = list(self._operations.faults())
        if self._stopping() and "stopping" not in faults:
            faults.insert(0, "stopping")
        if faults:
            return _response(503, msgspec.json.encode(faults), _JSON)
        return _response(200, b"ready", _TEXT)

    def _metrics(self) -> web.Response:
        return _response(200, self._operations.metrics(), _METRICS)

    def _info(self) -> web.Response:
        return _response(200, msgspec.json.encode(self._operations.info()), _JSON)

    def _pool(self) -> web.Response:
        return _response(200, msgspec.json.encode(self._operations.pool()), _JSON)


def _error(status: int, text: str, **headers: str) -> web.Response:
    return _response(status, msgspec.json.encode({"error": text}), _JSON, **headers)


def _response(status: int, body: bytes, content_type: str, **headers: str) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": content_type, **headers})
