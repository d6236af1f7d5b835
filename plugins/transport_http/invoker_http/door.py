"""What the data listener lets in and what it says to everybody else; knows nothing of any server library."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import httptools

from invoker.contracts import NO_CONTEXT, Admitted, Intake
from invoker.errors import Busy, MalformedRequest
from invoker.wire.acknowledgement import Acknowledger
from invoker_http.answers import BodyAnswers
from invoker_http.credentials import CHALLENGE, Credentials
from invoker_http.reply import Reply, error
from invoker_http.response import Response
from invoker_http.running import Running

VIA: Final = "http"

INVOKE: Final = b"/invoke"
PING: Final = b"/ping"

PONG: Final = Reply(HTTPStatus.OK, b"pong", "text/plain; charset=utf-8")
"""Upstream's answer (spec 12.3); the Go variant's is empty (spec 12.5), and its controllers look at the status."""
STOPPING: Final = error(HTTPStatus.SERVICE_UNAVAILABLE, "the invoker is stopping", "Retry-After: 1", closes=True)
TOO_SLOW: Final = error(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive", closes=True)
BAD_REQUEST: Final = error(HTTPStatus.BAD_REQUEST, "this is no HTTP request", closes=True)
HEAD_TOO_LARGE: Final = error(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too large", closes=True
)
BROKEN: Final = error(HTTPStatus.INTERNAL_SERVER_ERROR, "the invoker could not answer", closes=True)
_STRANGER: Final = error(
    HTTPStatus.UNAUTHORIZED, "this needs a username and a password", f"WWW-Authenticate: {CHALLENGE}"
)
_NOTHING: Final = error(
    HTTPStatus.NOT_FOUND, "there is nothing at this path: POST /invoke takes activation messages, GET /ping answers"
)
_INVOKE_ONLY: Final = error(
    HTTPStatus.METHOD_NOT_ALLOWED, "/invoke takes activation messages by POST or PUT", "Allow: POST, PUT"
)
_PING_ONLY: Final = error(HTTPStatus.METHOD_NOT_ALLOWED, "/ping is asked by GET", "Allow: GET, HEAD")


class Door:
    """Decides about requests, and sees those it lets in through to their answer."""

    def __init__(
        self, intake: Intake, acknowledger: Acknowledger, *, limit: int, credentials: Credentials | None = None
    ) -> None:
        self._intake = intake
        self._acknowledger = acknowledger
        self._credentials = credentials
        self._running = Running(intake)
        self.limit = limit
        """Bytes of the largest message (spec 1.1.3)."""
        self.too_large = error(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the message is too large: {limit} bytes are allowed", closes=True
        )
        self.closed = False
        """Nothing more is let in."""

    def refusal(self, method: bytes, target: bytes, authorization: bytes, length: int) -> Reply | None:
        """Return what is said without reading the body; `None`: read it, and `take` it.

        `length` is that which the request declares, 0 if it doesn't.
        """
        if self.closed:
            return STOPPING
        path = target if target == INVOKE else _path(target)
        if path == PING:
            return PONG if method in (b"GET", b"HEAD") else _PING_ONLY
        if self._credentials is not None and not self._credentials.fit(authorization):
            return _STRANGER
        if path != INVOKE:
            return _NOTHING
        if method not in (b"POST", b"PUT"):
            return _INVOKE_ONLY
        return self.too_large if length > self.limit else None

    async def take(self, body: bytes, context: Mapping[str, str], response: Response) -> None:
        """Answer a message: with a refusal, or with the receipt now and the acknowledgement when it has run."""
        admitted = self._admitted(body, context)
        if isinstance(admitted, Reply):
            response.whole(admitted)
        else:
            answers = BodyAnswers(self._acknowledger, admitted.request, response)
            await self._running.invoke(admitted, answers)
            if not response.started:
                response.whole(BROKEN)
            elif not response.finished:
                response.abandon()

    async def shut(self) -> None:
        """Let nothing more in; return when all that was let in has been answered.

        Cancelled, it breaks off what runs, waits for those answers, and passes the cancellation on.
        """
        self.closed = True
        await self._running.ended()

    def _admitted(self, body: bytes, context: Mapping[str, str] = NO_CONTEXT) -> Admitted | Reply:
        if self.closed:
            return STOPPING
        if len(body) > self.limit:
            return self.too_large
        try:
            return self._intake.admit(body, via=VIA, context=context)
        except MalformedRequest as malformed:
            return error(HTTPStatus.BAD_REQUEST, str(malformed))
        except Busy as busy:
            return error(HTTPStatus.SERVICE_UNAVAILABLE, str(busy), f"Retry-After: {busy.retry_after}")


def _path(target: bytes) -> bytes:
    """Return the path of a request's target, which may have a query, or be a whole URL."""
    try:
        path: bytes | None = httptools.parse_url(target).path
    except httptools.HttpParserInvalidURLError:
        return b""
    return path or b""
