"""The listener for operators: is it alive, may it be given work, how does it do (spec 12.3). Nobody logs in."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
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
async def serving_operators(operations: Operations, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Answer operators on bound sockets."""
    runner = web.ServerRunner(web.Server(_Pages(operations), access_log=None), shutdown_timeout=_PATIENCE)
    await runner.setup()
    try:
        for one in sockets:
            await web.SockSite(runner, one).start()
        yield
    finally:
        await runner.cleanup()


class _Pages:
    """What aiohttp calls for each request."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._pages: dict[str, Callable[[], web.Response]] = {
            "/ping": lambda: _page(b"pong", _TEXT),
            "/livez": lambda: _page(b"alive", _TEXT),
            "/readyz": self._ready,
            "/metrics": lambda: _page(operations.metrics(), _METRICS),
            "/info": lambda: _page(msgspec.json.encode(operations.info())),
            "/pool": lambda: _page(msgspec.json.encode(operations.pool())),
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if page is None:
            return _error(404, f"there is nothing at this path; there is {', '.join(self._pages)}")
        if request.method not in ("GET", "HEAD"):
            return _error(405, "this is asked by GET", Allow="GET, HEAD")
        return page()

    def _ready(self) -> web.Response:
        faults = self._operations.faults()
        return _page(msgspec.json.encode(faults), status=503) if faults else _page(b"ready", _TEXT)


def _error(status: int, text: str, **headers: str) -> web.Response:
    return _page(msgspec.json.encode({"error": text}), status=status, **headers)


def _page(body: bytes, content_type: str = _JSON, *, status: int = 200, **headers: str) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": content_type, **headers})
