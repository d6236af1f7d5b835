"""Requests: read from bytes in any pieces. No I/O; `httptools` parses.

Callers are strangers until the endpoint has seen their head: how much of a request is kept is bounded from its first
byte, and so is the time for which the event loop is held.
"""

import logging
from collections import deque
from typing import Final

import httptools

from invoker_http import responses
from invoker_http.endpoints import Endpoint, HttpRequest
from invoker_http.responses import HttpResponse

logger = logging.getLogger("invoker.http")

HEAD_LIMIT: Final = 16 << 10  # bytes of a request's line and headers
SLICE: Final = 4 << 10  # bytes that are parsed at once: up to 225 requests, in 1 ms; the parser can't be stopped within

_NOTED: Final = frozenset(
    b"host origin sec-fetch-site authorization expect content-length content-encoding transfer-encoding".split()
)
"""Headers that mean something here."""
_CONTEXT: Final = b"functions-"
"""How headers begin that say something about a message (spec 12.5), for the log only."""
_CONTEXT_LENGTH: Final = 256  # characters that are kept of such a header's value


class RequestReader:
    """Bytes in, requests out, one after the other. The parser calls its `on_*` methods."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._parser = httptools.HttpRequestParser(self)
        self._request = HttpRequest()  # the one that arrives, or was the last to
        self._head = self._body = 0  # bytes of its line and headers, and of its body
        self._awaited = 0  # bytes of its body that are still to come, if their number is known
        self._quiet = 0  # bytes in which there was neither the beginning of a request nor something of a body
        self._bodies = 0  # bytes of all bodies that are here
        self._ready: deque[HttpRequest] = deque()  # requests that nobody has taken yet
        self._rest: bytes | memoryview = b""  # what has come and isn't parsed yet
        self._brought = 0  # bytes of which that is the rest
        self.partial = False
        """A request has begun and is not whole."""
        self.held_back = False
        """Its caller waits to be asked for the body."""
        self.done = False
        """Nothing sensible can follow; whatever comes is dropped."""
        self.unread = False
        """The last request was refused before its end: its caller may still be sending."""

    @property
    def kept(self) -> int:
        """Bytes of what was sent and nobody has taken: all that the last read brought, and heads and bodies."""
        return self._bodies + (self._brought if self._rest else 0) + (self._head + self._quiet if self.partial else 0)

    @property
    def more(self) -> bool:
        """Whether there is a request, or something that may have one in it."""
        return bool(self._ready or self._rest)

    def feed(self, data: bytes) -> None:
        """Keep what came."""
        if not self.done:
            self._rest = bytes(self._rest) + data if self._rest else data
            self._brought = len(self._rest)

    def read(self) -> bool:
        """Parse a piece, unless a request is whole already; return whether there is another piece to parse."""
        rest, size = self._rest, max(SLICE, self._awaited)  # of a body no less than all: it takes no time
        if rest and not self._ready:
            self._rest = memoryview(rest)[size:] if len(rest) > size else b""
            self._parse(memoryview(rest)[:size] if self._rest else rest)
        return bool(self._rest) and not self._ready

    def take(self) -> HttpRequest | None:
        """Return the next request, if it is whole and parsed."""
        if not self._ready:
            return None
        request = self._ready.popleft()
        self._bodies -= len(request.body)
        return request

    def refuse(self, response: HttpResponse) -> None:
        """End with a response to the request that is being read, wherever it was."""
        if self.done:
            return
        if self.partial:
            self._bodies -= len(self._request.body)
        self.done = self.unread = True
        self.partial = self.held_back = False
        self._rest = b""
        self._request = HttpRequest(method=self._request.method, response=response)
        self._ready.append(self._request)

    def close(self) -> None:
        """Read nothing more, and keep nothing. Parser and reader know each other: that would keep both."""
        self.done, self.partial = True, False
        self._rest, self._bodies = b"", 0
        self._ready.clear()
        self._request = HttpRequest()
        del self._parser

    def _parse(self, data: bytes | memoryview) -> None:
        self._quiet += len(data)  # `on_body` and a new request set it back
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as declined:
            self._read_on(data[declined.args[0] :])
        except httptools.HttpParserError as error:
            self.refuse(_reason(error))
        except MemoryError:
            self.refuse(responses.NO_MEMORY)
        if self.partial and self._quiet > HEAD_LIMIT:  # the parser keeps a header until it is whole, however long
            self.refuse(responses.HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Another request."""
        self._request = HttpRequest()
        self._head = self._body = self._quiet = 0
        self.partial = True

    def on_url(self, target: bytes) -> None:
        """Note the target, which may come in pieces."""
        self._head += len(target)
        self._request.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what the parser doesn't tell later, and what is said of the message."""
        self._head += len(name) + len(value)
        request, lower = self._request, name.lower()
        if lower in _NOTED:
            before = request.headers.get(lower)
            request.headers[lower] = value if before is None else b"%b, %b" % (before, value)
        elif lower.startswith(_CONTEXT) and len(lower) > len(_CONTEXT):
            request.context = request.context or {}
            request.context[name.decode("latin-1").title()] = _clean(value)

    def on_headers_complete(self) -> None:
        """Have the head judged. A body that is not wanted is not waited for."""
        if self.done:
            return
        request, parser = self._request, self._parser
        request.method = parser.get_method()
        request.chunked = parser.get_http_version() == "1.1"
        request.keep_alive = request.chunked and parser.should_keep_alive() and request.method != b"CONNECT"
        request.length = self._awaited = int(
            request.headers.get(b"content-length", b"0")
        )  # the parser has looked at it
        request.has_body = request.length > 0 or b"transfer-encoding" in request.headers
        if self._head > HEAD_LIMIT:
            self.refuse(responses.HEAD_TOO_LARGE)
            return
        request.response = self._endpoint.judge(request)
        if request.response is not None and request.has_body:
            self.refuse(request.response)
        else:
            self.held_back = request.has_body and b"expect" in request.headers

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, unless it is too much."""
        self._quiet = 0
        if self.done:
            return
        request, size = self._request, len(data)
        if self._body + size > self._endpoint.limit:
            self.refuse(self._endpoint.too_large)
            return
        if self._body == 0:
            request.body = data
            self.held_back = False
        elif isinstance(request.body, bytes):
            request.body = bytearray(request.body) + data
        else:
            request.body += data
        self._body += size
        self._bodies += size
        self._awaited -= size

    def on_message_complete(self) -> None:
        """The request is whole."""
        request = self._request
        if self.done:
            self.unread = False  # refused by its head, and yet it has come whole
        elif request.has_body and self._body == 0 and self._parser.should_upgrade():
            return  # the parser leaves the body of an upgrade unread, see `_read_on`
        else:
            self.partial = self.held_back = False
            self._awaited = 0
            self._ready.append(request)
            if not request.keep_alive:
                self.done, self._rest = True, b""

    def _read_on(self, rest: bytes | memoryview) -> None:
        """Decline an upgrade, which some clients offer unasked (h2c): another parser reads what follows as HTTP/1.1."""
        if self.done:
            return
        self._parser = httptools.HttpRequestParser(self)
        if self.partial:  # it is shown again what body is to come, which nobody heeds
            request, length = self._request, self._request.length
            framing = b"Content-Length: %d" % length if length else b"Transfer-Encoding: chunked"
            self.done = True
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self.done, self._request = False, request
        self._parse(rest)


def _reason(error: httptools.HttpParserError) -> HttpResponse:
    """Return what is said when the parser gives up, because of the bytes or of what one of ours has raised."""
    cause = error.__context__
    if cause is None or isinstance(cause, MemoryError):
        return responses.NO_MEMORY if cause else responses.BAD_REQUEST
    logger.error("a request broke the invoker", exc_info=cause)
    return responses.BROKEN


def _clean(value: bytes) -> str:
    """Return text that can't disturb a terminal or a log: it came from a stranger."""
    text = value[: 4 * _CONTEXT_LENGTH].decode("utf-8", "replace")  # a character has at most four bytes
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    return text[:_CONTEXT_LENGTH]
