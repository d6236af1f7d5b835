"""Requests: read from bytes in any pieces, and judged by their heads. No I/O; `httptools` parses.

Callers are strangers until the endpoint has seen their head: how much of a request is kept is bounded from its first
byte, and so is the time for which the event loop is held.
"""

import logging
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final

import httptools
import msgspec

from invoker.contracts import NO_CONTEXT, Admitted, Intake
from invoker.errors import Busy, Draining, MalformedRequest
from invoker_http import responses
from invoker_http.responses import HttpResponse, refusal
from invoker_http.tls import Credentials

logger = logging.getLogger("invoker.http")

HEAD_LIMIT: Final = 16 << 10
"""Bytes of a request's line and headers."""
SLICE: Final = 16 << 10
"""Bytes that are parsed at once: up to 900 requests, in 4 ms. The parser can't be stopped within."""
SLICES: Final = 4
"""How many of these are parsed before others have their turn, if no request ends in them: 4 ms of tiny chunks."""

_CONTEXT: Final = b"functions-"
"""How headers begin that say something about a message (spec 12.5), for the log only."""
_CONTEXT_LENGTH: Final = 256
"""Characters that are kept of such a header's value."""


class HttpRequest(msgspec.Struct):
    """One request, as far as it is read."""

    method: bytes = b""
    target: bytes = b""
    authorization: bytes = b""
    length: int = 0
    """Bytes of the body as they were declared; 0 if they weren't."""
    has_body: bool = False
    expects: bool = False
    """The caller wants to be asked for the body before it sends it."""
    context: dict[str, str] | None = None
    """What is said about the message, spelt as in `Functions-Function`."""
    keep_alive: bool = False
    chunked: bool = True
    """Whether the caller understands a chunked response: one of HTTP/1.0 doesn't."""
    body: bytes | bytearray = b""
    response: HttpResponse | None = None
    """What is said without a look at the body."""


class Endpoint:
    """The data listener's two resources, `POST /invoke` and `GET /ping`: who may ask for what."""

    def __init__(
        self, intake: Intake, draining: Callable[[], bool], *, limit: int, credentials: Credentials | None = None
    ) -> None:
        self._intake = intake
        self._draining = draining
        self._credentials = credentials
        self.limit = limit
        """Bytes of the largest message (spec 1.1.3)."""
        text = f"the message is too large: {limit} bytes are allowed"
        self.too_large = refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, closes=True)

    def judge(self, request: HttpRequest) -> HttpResponse | None:
        """Return what is said to a head; `None`: the body is wanted, and `admit` decides."""
        target, method = request.target, request.method
        path = target if target == b"/invoke" else _path(target)
        if path == b"/ping":
            if method not in (b"GET", b"HEAD"):
                return responses.PING_BY_GET
            return responses.STOPPING if self._draining() else responses.PONG
        if self._credentials is not None and not self._credentials.fit(request.authorization):
            return responses.UNAUTHORIZED
        if path != b"/invoke":
            return responses.NOTHING_HERE
        if method not in (b"POST", b"PUT"):
            return responses.INVOKE_BY_POST
        return self.too_large if request.length > self.limit else None

    def admit(self, request: HttpRequest) -> Admitted | HttpResponse:
        """Ask the core about a message; what the request had of it is gone then."""
        body, request.body = bytes(request.body), b""
        try:
            return self._intake.admit(body, via="http", context=request.context or NO_CONTEXT)
        except MalformedRequest as malformed:
            return refusal(HTTPStatus.BAD_REQUEST, str(malformed))
        except Busy as busy:
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(busy), f"Retry-After: {busy.retry_after}")
        except Draining:
            return responses.STOPPING
        except Exception:
            logger.exception("a request broke the invoker")
            return responses.BROKEN


class RequestReader:
    """Bytes in, requests out, one after the other. The parser calls its `on_*` methods."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._parser = httptools.HttpRequestParser(self)
        self._request = HttpRequest()  # the one that arrives, or was the last to
        self._head = self._body = 0  # bytes of its line and headers, and of its body
        self._quiet = 0  # bytes in which there was neither the beginning of a request nor something of a body
        self.ready: deque[HttpRequest] = deque()
        """Requests that nobody has taken yet."""
        self.rest: bytes | memoryview = b""
        """What has come and isn't parsed yet."""
        self.partial = False
        """A request has begun and is not whole."""
        self.held_back = False
        """Its caller waits to be asked for the body."""
        self.done = False
        """Nothing sensible can follow; whatever comes is dropped."""
        self.unread = False
        """The last request was refused before its end: its caller may still be sending."""

    def feed(self, data: bytes) -> None:
        """Take what came, and parse what may be parsed at once."""
        if self.done:
            return
        if self.rest:
            self.rest = bytes(self.rest) + data
        elif len(data) <= SLICE:
            self._parse(data)
        else:
            self.rest = data
            self.parse()

    def parse(self) -> None:
        """Parse on, until a request is whole or others should have their turn."""
        rest = memoryview(self.rest)
        for at in range(0, SLICES * SLICE, SLICE):
            self.rest = rest[at + SLICE :]
            self._parse(rest[at : at + SLICE])
            if self.ready or not self.rest:
                return

    def give_up(self) -> None:
        """Wait no longer for the rest of a request."""
        self._refuse(responses.TOO_SLOW)

    def close(self) -> None:
        """Read nothing more, and keep nothing. Parser and reader know each other: that would keep both."""
        self.done = True
        self.rest = b""
        self.ready.clear()
        self._request = HttpRequest()
        del self._parser

    def _parse(self, data: bytes | memoryview) -> None:
        self._quiet += len(data)  # `on_body` and a new request set it back
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as declined:
            self._read_on(data[declined.args[0] :])
        except httptools.HttpParserCallbackError:  # which is ours: the event loop logs it, and closes the connection
            raise
        except httptools.HttpParserError:
            self._refuse(responses.BAD_REQUEST)
        if self.partial and self._quiet > HEAD_LIMIT:  # the parser keeps a header until it is whole, however long
            self._refuse(responses.HEAD_TOO_LARGE)

    # --- what the parser calls ---------------------------------------------------------------------------------

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
        request = self._request
        match len(name):
            case 14 if name.lower() == b"content-length":
                request.length = int(value)  # the parser has seen that it is a number, and the only one
                request.has_body = request.length > 0
            case 17 if name.lower() == b"transfer-encoding":
                request.has_body = True
            case 13 if name.lower() == b"authorization":
                request.authorization = value
            case 6 if name.lower() == b"expect":
                request.expects = value.lower() == b"100-continue"
            case length if length > len(_CONTEXT) and name[: len(_CONTEXT)].lower() == _CONTEXT:
                request.context = request.context or {}
                request.context[name.decode("latin-1").title()] = _clean(value)

    def on_headers_complete(self) -> None:
        """Have the head judged. A body that is not wanted is not waited for."""
        if self.done:
            return
        request, parser = self._request, self._parser
        request.method = parser.get_method()
        request.chunked = parser.get_http_version() == "1.1"
        # An upgrade, which some clients offer unasked (h2c), is declined: what follows is read as HTTP/1.1, once.
        request.keep_alive = request.chunked and parser.should_keep_alive() and not parser.should_upgrade()
        if self._head > HEAD_LIMIT:
            self._refuse(responses.HEAD_TOO_LARGE)
            return
        request.response = self._endpoint.judge(request)
        if request.response is not None and request.has_body:
            self._refuse(request.response)
        else:
            self.held_back = request.expects and request.has_body

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, unless it is too much."""
        self._quiet = 0
        if self.done:
            return
        request = self._request
        if self._body + len(data) > self._endpoint.limit:
            self._refuse(self._endpoint.too_large)
        elif self._body == 0:
            request.body = data
            self.held_back = False
        elif isinstance(request.body, bytes):
            request.body = bytearray(request.body) + data
        else:
            request.body += data
        self._body += len(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        request = self._request
        if self.done:
            self.unread = False  # refused by its head, and yet it has come whole
        elif request.has_body and self._body == 0 and self._parser.should_upgrade():
            return  # the parser leaves the body of an upgrade unread, see `_read_on`
        else:
            self.partial = self.held_back = False
            self.done = not request.keep_alive
            self.ready.append(request)

    # --- the exceptions ----------------------------------------------------------------------------------------

    def _refuse(self, response: HttpResponse) -> None:
        """End with a response to the request that is being read, wherever it was."""
        if self.done:
            return
        self.done = self.unread = True
        self.partial = self.held_back = False
        self.rest = b""
        self.ready.append(HttpRequest(method=self._request.method, response=response))
        self._request = HttpRequest()

    def _read_on(self, rest: bytes | memoryview) -> None:
        """Read the body behind the head of a declined upgrade, as the parser doesn't."""
        if not self.partial or self.done:
            self.done = True
            return
        length = self._request.length
        framing = b"Content-Length: %d" % length if length else b"Transfer-Encoding: chunked"
        wanted = SimpleNamespace(on_body=self.on_body, on_message_complete=self.on_message_complete)
        self._parser = httptools.HttpRequestParser(wanted)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        self._parse(rest)


def _path(target: bytes) -> bytes:
    """Return the path of a request's target, which may have a query, or be a whole URL."""
    try:
        path: bytes | None = httptools.parse_url(target).path
    except httptools.HttpParserInvalidURLError:
        return b""
    return path or b""


def _clean(value: bytes) -> str:
    """Return text that can't disturb a terminal or a log: it came from a stranger."""
    text = value[: 4 * _CONTEXT_LENGTH].decode("utf-8", "replace")  # a character has at most four bytes
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    return text[:_CONTEXT_LENGTH]
