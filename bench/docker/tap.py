"""A socket before the engine's that passes on everything and notes when each call began and was answered.

So the phases of a cold start are seen from outside, whatever the plugin looks like inside. Costs a call some 0.1 ms.
"""

import contextlib
import os
import socket
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple, Self

import httptools

from bench.docker.engine import opened
from invoker_docker.settings import EngineAddress

_MUCH: Final = 1 << 16


class Call(NamedTuple):
    """One call of the engine's API. Unix time in microseconds."""

    method: str
    path: str
    begun: int
    """Its head was there."""
    ended: int
    """The head of the answer was there."""


class Tap:
    """`with Tap(path, engine)`: threads carry bytes from the socket at `path` to the engine and back."""

    def __init__(self, path: Path, engine: EngineAddress) -> None:
        self.url = f"unix://{path}"
        self.calls: list[Call] = []
        self._path = path
        self._engine = engine

    def __enter__(self) -> Self:
        """Listen."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(self._path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, name="tap", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening; connections end with their ends."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            engine = opened(self._engine)
            engine.settimeout(None)
            asked = _Requests()
            for source, sink, watcher in ((caller, engine, asked), (engine, caller, _Answers(asked, self.calls))):
                threading.Thread(target=_carry, args=(source, sink, watcher), name="tap", daemon=True).start()


class _Requests:
    """Sees requests; the parser calls its `on_*` methods."""

    def __init__(self) -> None:
        self.open: deque[tuple[str, str, int]] = deque()
        self.parser = httptools.HttpRequestParser(self)
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        self.open.append((self.parser.get_method().decode(), self._url.decode(), _now()))
        self._url = b""


class _Answers:
    """Sees answers, and puts them to their requests."""

    def __init__(self, asked: _Requests, calls: list[Call]) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self._asked = asked
        self._calls = calls

    def on_headers_complete(self) -> None:
        method, path, begun = self._asked.open.popleft()
        self._calls.append(Call(method, path.partition("?")[0], begun, _now()))


def _carry(source: socket.socket, sink: socket.socket, watcher: _Requests | _Answers) -> None:
    parsing = True
    while True:
        try:
            data = source.recv(_MUCH)
        except OSError:
            data = b""
        if parsing and data:
            try:
                watcher.parser.feed_data(data)
            except (httptools.HttpParserUpgrade, httptools.HttpParserError):
                parsing = False  # a stream from here on
        try:
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)
        except OSError:
            return


def _now() -> int:
    return time.time_ns() // 1000
