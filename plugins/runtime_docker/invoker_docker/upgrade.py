"""The answer to a request that takes its connection over: a head, and then something that isn't HTTP."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Final

import httptools

from invoker_docker.answers import EngineDown, EngineError

LONGEST: Final = 1 << 16
"""Bytes of a head, and of a refusal."""
_TAKEN: Final = frozenset({101, 200})
"""Either is followed by the raw stream: an engine that was not asked to upgrade, by some proxy between, says 200."""
_GATEWAY: Final = frozenset({502, 503, 504})


class UpgradeReader:
    """Reads the head; what came with it and isn't of it goes to `feed`. The parser calls its `on_*` methods."""

    def __init__(self, feed: Callable[[bytes], None]) -> None:
        self._feed = feed
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0
        self._status = 0
        self._chunked = False
        self._text = b""
        self.taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has been taken over; fails with the reason why it isn't."""

    @property
    def accepted(self) -> bool:
        """Whether the connection has been taken over: what comes from now on is no longer for here."""
        return self.taken.done() and not self.taken.cancelled() and self.taken.exception() is None

    def read(self, data: bytes) -> None:
        """Take what came."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.on_body(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.fail(EngineDown(f"attach: no answer that makes sense: {error.__context__ or error}"))
        if self._size > LONGEST:
            self.fail(EngineDown(f"attach: no answer within {LONGEST} bytes"))

    def end(self, error: Exception | None) -> None:
        """Learn that the connection has ended: a refusal without a length is whole, anything else never came."""
        self.on_message_complete()
        self.fail(EngineDown(f"attach: the connection ended without an answer: {error or 'closed by the engine'}"))

    def fail(self, error: EngineError) -> None:
        """End it, unless it has been decided already."""
        if not self.taken.done():
            self.taken.set_exception(error)
            self.taken.exception()  # seen, even if whoever waited has gone

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
            self.fail(EngineError(None, "attach: what is between here and the engine changes the stream"))
        elif not self.taken.done():
            self.taken.set_result(None)

    def on_body(self, data: bytes) -> None:
        """What follows the head: the stream, or why there is none."""
        if self._status not in _TAKEN:
            self._text += data
        elif data and not self._chunked:
            self._feed(data)

    def on_message_complete(self) -> None:
        """A refusal is whole."""
        if self._status < 200 or self._status in _TAKEN:  # noqa: PLR2004 (informational: the answer comes after it)
            return
        text = self._text.decode(errors="replace").strip() or "refused"
        with contextlib.suppress(ValueError, LookupError, TypeError):
            text = str(json.loads(text)["message"])
        self.fail(
            EngineDown(f"attach: {text}") if self._status in _GATEWAY else EngineError(self._status, f"attach: {text}")
        )
