"""The bytes that the data listener sends: short responses, and acknowledgements in two parts."""

from http import HTTPStatus
from typing import Final

import msgspec

CHALLENGE: Final = 'Basic realm="invoker", charset="UTF-8"'
"""Asks for a username and a password (RFC 7617)."""

_JSON: Final = "application/json"
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

RECEIPTS: Final = {
    (True, True): _HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    (True, False): _HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    (False, False): _HEAD + b"Connection: close\r\n\r\n",
}
"""The first part: the message will run (spec 12.5). By whether the body is chunked, and the connection kept."""
INVITATION: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Asks a caller for the body that it holds back."""


def last_part(acknowledgement: bytes, *, chunked: bool) -> bytes:
    """Return the body of a response that has begun with its receipt. HTTP/1.0 has no chunks: there it ends unmarked."""
    if chunked:
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(acknowledgement), acknowledgement)
    return acknowledgement


class HttpResponse(msgspec.Struct, frozen=True):
    """A status and a short body: what is said in place of running a message."""

    status: HTTPStatus
    body: bytes
    content_type: str = _JSON
    headers: tuple[str, ...] = ()
    """Further header lines."""
    closes: bool = False
    """Whether the connection ends with it, however the caller would have it."""

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


def refusal(status: HTTPStatus, text: str, *headers: str, closes: bool = False) -> HttpResponse:
    """Return a response that says why, as `{"error": …}`."""
    return HttpResponse(status, msgspec.json.encode({"error": text}), _JSON, headers, closes)


PONG: Final = HttpResponse(HTTPStatus.OK, b"pong", "text/plain; charset=utf-8")
"""Upstream's answer (spec 12.3); the Go variant's is empty (spec 12.5), and its controllers look at the status."""
STOPPING: Final = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the invoker is stopping", "Retry-After: 1", closes=True)
TOO_SLOW: Final = refusal(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive", closes=True)
BAD_REQUEST: Final = refusal(HTTPStatus.BAD_REQUEST, "this is no HTTP request", closes=True)
HEAD_TOO_LARGE: Final = refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too large", closes=True
)
BROKEN: Final = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the invoker could not answer", closes=True)
UNAUTHORIZED: Final = refusal(
    HTTPStatus.UNAUTHORIZED, "this needs a username and a password", f"WWW-Authenticate: {CHALLENGE}"
)
NOTHING_HERE: Final = refusal(
    HTTPStatus.NOT_FOUND, "there is nothing at this path: POST /invoke takes activation messages, GET /ping answers"
)
INVOKE_BY_POST: Final = refusal(
    HTTPStatus.METHOD_NOT_ALLOWED, "/invoke takes activation messages by POST or PUT", "Allow: POST, PUT"
)
PING_BY_GET: Final = refusal(HTTPStatus.METHOD_NOT_ALLOWED, "/ping is asked by GET", "Allow: GET, HEAD")
