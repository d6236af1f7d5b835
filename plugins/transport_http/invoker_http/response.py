"""The bytes of a response to a message: the header at once, the body when there is something to say (spec 12.5).

Whatever server has read the request, its response is written here: callers can't tell the servers apart.
"""

import asyncio
import logging
from typing import Final

from invoker_http.reply import Reply

logger = logging.getLogger("invoker.http")

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_HEADS: Final = {  # whether it is chunked, whether the connection is kept
    (True, True): _HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    (True, False): _HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    (False, False): _HEAD + b"Connection: close\r\n\r\n",
}

INVITATION: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Asks a caller for the body that it holds back."""


class Response:
    """One response on its way. Writing never waits and never fails: a caller that is gone loses only the answer."""

    __slots__ = ("_chunked", "_transport", "finished", "keep_alive", "started")

    def __init__(self, transport: asyncio.WriteTransport, *, chunked: bool, keep_alive: bool) -> None:
        self._transport = transport
        self._chunked = chunked
        """HTTP/1.0 knows no chunks: there the body ends with the connection."""
        self.keep_alive = keep_alive and chunked
        """Whether another request may follow."""
        self.started = False
        self.finished = False

    def begin(self) -> None:
        """Send the receipt."""
        self.started = True
        self._write(_HEADS[self._chunked, self.keep_alive])

    def finish(self, body: bytes) -> None:
        """Send the body, whole, and its end."""
        self._write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if self._chunked else body)
        self.finished = True

    def whole(self, reply: Reply, *, bodyless: bool = False) -> None:
        """Send a reply in place of all that."""
        self.keep_alive = self.keep_alive and not reply.closes
        self._write(reply.encoded(keep_alive=self.keep_alive, bodyless=bodyless))
        self.started = self.finished = True

    def abandon(self) -> None:
        """Cut the connection: an answer without its end must not look as if it had one."""
        self.keep_alive = False
        self._transport.abort()

    def half_close(self) -> None:
        """Show that nothing follows to a caller that may still be sending (TLS can't)."""
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            logger.debug("a caller left before its answer")
        else:
            self._transport.write(data)
