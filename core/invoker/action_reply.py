"""What an action proxy answers, read from bytes in any pieces. No I/O; a parser (`httptools`) and limits.

The peer may be a user's own image and is not trusted: how much of a reply is kept, read and waited through is bounded.
Unlike upstream's, a reply may be chunked or end with the connection (spec 9.4.1, T47).
"""

import re
import time
from typing import Final

import httptools

from invoker.entities.container import Reply

HEAD_LIMIT: Final = 32 << 10
"""Bytes of a reply's header section, and of all else in it that is not body, beside a sixteenth of that: chunks of 100
bytes are the smallest that may go on for ever. More is no reply: a megabyte in chunks of one byte took a second."""
PIECE: Final = 32 << 10
"""Bytes that are parsed before anybody looks at what they were."""
REPLY_LIMIT: Final = 64 << 20
"""Bytes of a reply that are read to learn its length; beyond, the connection is closed."""
IDLE_LIMIT: Final = 1.0
"""Seconds for which a connection is kept if the peer doesn't say how long it keeps it."""
_FINAL: Final = 200
"""The lowest status of a reply that is not followed by another."""
_TIMEOUT: Final = re.compile(rb"(?i)\btimeout\s*=\s*(\d{1,6})")


class Disconnected(ConnectionError):
    """The connection ended, or stopped making sense, before a whole reply was read. The request may have been run."""

    def __init__(self, reason: str) -> None:
        self.at = time.monotonic()
        """When that was, for `Lost`."""
        super().__init__(reason)


class ReplyReader:
    """Bytes in, replies out, one after the other. The parser calls its `on_*` methods."""

    def __init__(self) -> None:
        self.reusable = True
        """False once the peer said, or showed, that nothing sensible will follow."""
        self.idle_limit = IDLE_LIMIT
        """Seconds for which the connection is good after this reply."""
        self._keep_alive = b""
        self._status = 0
        self._declared: int | None = None
        self._body: bytes | bytearray = b""
        self._length = 0
        self._parser = httptools.HttpResponseParser(self)
        # One peer, one request in flight, no cache behind it: nothing can be smuggled, so sloppy servers may pass.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)

    def begin(self, limit: int) -> None:
        """Expect a reply of which `limit` bytes are kept."""
        self._limit = limit
        self._complete = False
        self._read = 0
        self._status = 0
        self._length = 0

    def feed(self, data: bytes) -> Reply | None:
        """Take what came; return the reply once it is whole, or too long to be read to its end.

        Raises:
            Disconnected: this is not, or no longer, a reply.
        """
        if len(data) > PIECE:
            for start in range(0, len(data), PIECE):
                if (reply := self.feed(data[start : start + PIECE])) is not None:
                    self.reusable = self.reusable and start + PIECE >= len(data)
                    return reply
            return None
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if not self._complete:
                raise Disconnected(f"the peer sent no HTTP reply: {error.__context__ or error}") from error
        if self._complete:
            return self._take(self._length)
        if self._read - self._length > HEAD_LIMIT + self._length // 16:
            raise Disconnected(f"the peer sent more than {HEAD_LIMIT} bytes beside the body")
        if self._length > max(REPLY_LIMIT, self._limit):
            self.reusable = False
            return self._take(max(self._length, self._declared or 0))
        return None

    def ended(self) -> Reply | None:
        """Return the reply if the end of the connection completes it: it had no length of its own."""
        self.reusable = False
        if self._status < _FINAL or self._declared is not None or self._coded:
            return None
        return self._take(self._length)

    def on_message_begin(self) -> None:
        """The reply begins, or another after an informational one."""
        if self._complete:
            raise ValueError("more than one reply to one request")
        self._head = 0
        self._declared = None
        self._coded = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what the parser doesn't tell later."""
        self._head += len(name) + len(value)
        match len(name):
            case 10 if value != self._keep_alive and name.lower() == b"keep-alive":
                self._keep_alive = value
                self.idle_limit = _idle_limit(value)
            case 14 if name.lower() == b"content-length":
                self._declared = int(value)
            case 17 if name.lower() == b"transfer-encoding":
                self._coded = True

    def on_headers_complete(self) -> None:
        """A status and its headers are there."""
        if self._head > HEAD_LIMIT:
            raise ValueError(f"more than {HEAD_LIMIT} bytes of headers")
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Keep what may be kept, count the rest."""
        room = self._limit - self._length
        if self._length == 0:
            self._body = data if len(data) <= room else data[:room]
        elif room > 0:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data if len(data) <= room else data[:room]
        self._length += len(data)

    def on_message_complete(self) -> None:
        """The reply is whole."""
        if self._status < _FINAL:  # 100 Continue and its like: the reply comes after it
            return
        self._complete = True
        if not self._parser.should_keep_alive() or self._parser.get_http_version() == "1.0":
            self.reusable = False

    def _take(self, length: int) -> Reply:
        body, self._body = self._body, b""
        return Reply(self._status, bytes(body), length)


def _idle_limit(keep_alive: bytes) -> float:
    """Seconds for which a connection is good whose peer sent this `Keep-Alive` header, such as `timeout=5, max=9`."""
    told = _TIMEOUT.search(keep_alive)
    return int(told[1]) - 1 if told else IDLE_LIMIT
