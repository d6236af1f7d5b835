"""What listeners send: short responses, and acknowledgements in two parts. Who was turned away is counted here."""

import logging
from asyncio import BaseTransport
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

from invoker.errors import Busy

logger = logging.getLogger("invoker.http")

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

RECEIPTS: Final = {
    (True, True): _HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    (True, False): _HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    (False, False): _HEAD + b"Connection: close\r\n\r\n",
}
"""The first part: the message will run (spec 12.5). By whether the body is chunked, and the connection kept."""
INVITATION: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # asks a caller for the body that it holds back


class HttpResponse(msgspec.Struct, frozen=True):
    """A status and a short body: what is said in place of running a message."""

    status: HTTPStatus
    body: bytes
    content_type: str = JSON
    headers: tuple[str, ...] = ()
    """Further header lines."""
    closes: bool = False
    """Whether the connection ends with it, however the caller would have it."""
    reason: str = ""
    """Why a request is turned away: a label of metrics, so one of a few words."""

    def encoded(self, *, keep_alive: bool, bodyless: bool) -> bytes:
        """Return its bytes; `bodyless` for those who asked with HEAD."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *self.headers,
        ]
        if not keep_alive:
            lines.append("Connection: close")
        return "\r\n".join((*lines, "\r\n")).encode("ascii") + (b"" if bodyless else self.body)


def refusal(status: int, reason: str, text: str, *headers: str, closes: bool = False) -> HttpResponse:
    """Return a response that says why, as `{"error": …}`."""
    return HttpResponse(HTTPStatus(status), msgspec.json.encode({"error": text}), JSON, headers, closes, reason)


_CHALLENGE: Final = 'WWW-Authenticate: Basic realm="invoker", charset="UTF-8"'
_AGAIN: Final = "Retry-After: 1"

PONG: Final = HttpResponse(HTTPStatus.OK, b"pong", TEXT)
"""Upstream's answer (spec 12.3); the Go variant's is empty (spec 12.5), and its controllers look at the status."""
BAD_REQUEST: Final = refusal(400, "http", "this is no HTTP request", closes=True)
UNAUTHORIZED: Final = refusal(401, "password", "this needs a username and a password", _CHALLENGE)
FROM_A_PAGE: Final = refusal(403, "origin", "this is for programs: no page in a browser may ask for it", closes=True)
FOREIGN_HOST: Final = refusal(403, "host", "that is no name of this machine; http.hosts may list it", closes=True)
NOTHING_HERE: Final = refusal(
    404, "path", "there is nothing at this path: POST /invoke takes activation messages, GET /ping answers"
)
INVOKE_BY_POST: Final = refusal(405, "method", "/invoke takes activation messages by POST or PUT", "Allow: POST, PUT")
PING_BY_GET: Final = refusal(405, "method", "/ping is asked by GET", "Allow: GET, HEAD")
TOO_SLOW: Final = refusal(408, "slow", "the request took too long to arrive", closes=True)
UNKNOWN_CODING: Final = refusal(415, "coding", "a message is taken without a Content-Encoding", closes=True)
UNKNOWN_WISH: Final = refusal(417, "expectation", "nothing but 100-continue can be expected", closes=True)
HEAD_TOO_LARGE: Final = refusal(431, "head", "the request's headers are too large", closes=True)
BROKEN: Final = refusal(500, "broken", "the invoker could not answer", closes=True)
UNKNOWN_TRANSFER: Final = refusal(501, "transfer", "no Transfer-Encoding is understood but chunked", closes=True)
STOPPING: Final = refusal(503, "draining", "the invoker is stopping", _AGAIN, closes=True)
NO_MEMORY: Final = refusal(503, "memory", "the invoker has no memory for the request", _AGAIN, closes=True)
CROWDED: Final = refusal(503, "connections", "the invoker has all the connections it may have", _AGAIN, closes=True)


def busy(error: Busy, *, closes: bool = False) -> HttpResponse:
    """Return what is said where there is no room, and when to ask again."""
    return refusal(503, "busy", str(error), f"Retry-After: {error.retry_after}", closes=closes)


class Refusals:
    """Counts what is turned away; warns of what somebody should look into, of each reason once in a while."""

    QUIET: Final = 10.0  # seconds until the same is logged again

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}
        told = (UNAUTHORIZED, FROM_A_PAGE, FOREIGN_HOST, NO_MEMORY, CROWDED, busy(Busy("", 1)))
        self._told = frozenset(each.reason for each in told)
        self.requests = Counter({(each.status.value, each.reason): 0 for each in (*told, STOPPING)})
        """By status and reason."""
        self.handshakes = Counter({"timeout": 0, "failed": 0})

    def note(self, response: HttpResponse, caller: BaseTransport) -> None:
        """Count a response, if it is a refusal."""
        if not response.reason:
            return
        key = (response.status.value, response.reason)
        self.requests[key] += 1
        if response.reason in self._told:
            text = "requests refused with %d (%s) so far: %d; the last came from %s: %s"
            where, why = caller.get_extra_info("peername"), response.body.decode()
            self.warn(response.reason, text, *key, self.requests[key], where, why)

    def note_handshake(self, reason: str, error: Exception) -> None:
        """Count a caller that did not come in."""
        self.handshakes[reason] += 1
        self.warn(reason, "TLS handshakes without success, so far %d; the last: %r", self.handshakes[reason], error)

    def warn(self, reason: str, text: str, *arguments: object) -> None:
        """Log a line, unless one for the same reason was a short while ago."""
        now = self._clock()
        if self._next.get(reason, now) <= now:
            self._next[reason] = now + self.QUIET
            logger.warning(text, *arguments)
