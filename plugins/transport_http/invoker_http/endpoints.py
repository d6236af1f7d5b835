"""What there is at the two listeners, and who may ask for it: messages at one, health and metrics at the other."""

import ipaddress
import logging
from collections.abc import Callable, Collection
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import httptools
import msgspec

from invoker.contracts import NO_CONTEXT, Admitted, Intake, Operations
from invoker.errors import Busy, Draining, MalformedRequest
from invoker_http import responses
from invoker_http.responses import JSON, TEXT, HttpResponse, refusal
from invoker_http.tls import Credentials

logger = logging.getLogger("invoker.http")

_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
_RARE: Final[dict[bytes, tuple[tuple[bytes, ...], HttpResponse]]] = {
    b"origin": ((b"",), responses.FROM_A_PAGE),
    b"sec-fetch-site": ((b"none", b"same-origin"), responses.FROM_A_PAGE),
    b"transfer-encoding": ((b"chunked",), responses.UNKNOWN_TRANSFER),
    b"content-encoding": ((b"identity",), responses.UNKNOWN_CODING),
    b"expect": ((b"100-continue",), responses.UNKNOWN_WISH),
}
"""Headers that most requests lack: what may stand in them, and what is said of all else (RFC 9110, 9112)."""


class HttpRequest(msgspec.Struct):
    """One request, as far as it is read."""

    method: bytes = b""
    target: bytes = b""
    headers: dict[bytes, bytes] = {}
    """Those that mean something here, in lower case."""
    length: int = 0
    """Bytes of the body as they were declared; 0 if they weren't."""
    has_body: bool = False
    context: dict[str, str] | None = None
    """What is said about the message, spelt as in `Functions-Function`."""
    keep_alive: bool = False
    chunked: bool = True
    """Whether the caller understands a chunked response: one of HTTP/1.0 doesn't."""
    body: bytes | bytearray = b""
    response: HttpResponse | None = None
    """What is said without a look at the body."""


class Endpoint:
    """Keeps pages in a browser out, at whatever is behind it: what one may ask for, any of the world's may."""

    def __init__(self, hosts: Collection[str] | None, *, limit: int = 0) -> None:
        """`hosts` are the names of a listener on loopback; of another, for which it is `None`, any will do."""
        names = None if hosts is None else frozenset(name.lower() for name in hosts)
        self._knows = lru_cache(maxsize=64)(lambda host: names is None or _is_local(host, names))
        self.limit = limit  # bytes of the largest body that is wanted
        text = f"the message is too large: {limit} bytes are allowed"
        self.too_large = refusal(413, "large", text, closes=True)

    def judge(self, request: HttpRequest) -> HttpResponse | None:
        """Return what is said to a head; `None`: the body is wanted, and `admit` decides."""
        headers = request.headers
        if not self._knows(headers.get(b"host", b"")):
            return responses.FOREIGN_HOST
        if not _RARE.keys().isdisjoint(headers):
            for name, (understood, response) in _RARE.items():
                if headers.get(name, understood[0]).lower() not in understood:
                    return response
        return self.answer(request)

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Return what is said to a head of somebody who may ask."""
        raise NotImplementedError

    def admit(self, request: HttpRequest) -> Admitted | HttpResponse:
        """Decide about a request that is whole."""
        raise NotImplementedError


class MessageEndpoint(Endpoint):
    """`POST /invoke` and `GET /ping`. `limit` is that of a message (spec 1.1.3)."""

    def __init__(
        self,
        intake: Intake,
        draining: Callable[[], bool],
        *,
        limit: int,
        credentials: Credentials | None = None,
        hosts: Collection[str] | None = None,
    ) -> None:
        super().__init__(hosts, limit=limit)
        self._intake = intake
        self._draining = draining
        self._credentials = credentials

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """See `Endpoint`."""
        target, method = request.target, request.method
        path = target if target == b"/invoke" else path_of(target)
        if path == b"/ping":
            if method not in (b"GET", b"HEAD"):
                return responses.PING_BY_GET
            return responses.STOPPING if self._draining() else responses.PONG
        if self._credentials is not None and not self._credentials.fit(request.headers.get(b"authorization", b"")):
            return responses.UNAUTHORIZED
        if path != b"/invoke":
            return responses.NOTHING_HERE
        if method not in (b"POST", b"PUT"):
            return responses.INVOKE_BY_POST
        return self.too_large if request.length > self.limit else None

    def admit(self, request: HttpRequest) -> Admitted | HttpResponse:
        """Ask the core about a message; what the request had of it is gone then."""
        try:
            body, request.body = bytes(request.body), b""
            return self._intake.admit(body, via="http", context=request.context or NO_CONTEXT)
        except MalformedRequest as malformed:
            return refusal(400, "malformed", str(malformed))
        except Busy as busy:
            return responses.busy(busy)
        except Draining:
            return responses.STOPPING
        except MemoryError:
            return responses.NO_MEMORY
        except Exception:
            logger.exception("a request broke the invoker")
            return responses.BROKEN


class OperatorsEndpoint(Endpoint):
    """Is it alive, may it be given work, how does it do (spec 12.3). Nobody logs in."""

    def __init__(self, operations: Operations, hosts: Collection[str] | None) -> None:
        super().__init__(hosts)
        self._pages: dict[bytes, Callable[[], HttpResponse]] = {
            b"/ping": lambda: responses.PONG,
            b"/livez": lambda: _page(b"alive"),
            b"/readyz": lambda: _json(faults, 503) if (faults := operations.faults()) else _page(b"ready"),
            b"/metrics": lambda: _page(operations.metrics(), _METRICS),
            b"/info": lambda: _json(operations.info()),
            b"/pool": lambda: _json(operations.pool()),
        }
        pages = b", ".join(self._pages).decode()
        self._nothing = refusal(404, "path", f"there is nothing at this path; there is {pages}")
        self._by_get = refusal(405, "method", "this is asked by GET", "Allow: GET, HEAD")

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """See `Endpoint`. No body is ever wanted."""
        page = self._pages.get(path_of(request.target))
        if page is None:
            return self._nothing
        return page() if request.method in (b"GET", b"HEAD") else self._by_get


def _page(body: bytes, content_type: str = TEXT, status: int = 200) -> HttpResponse:
    return HttpResponse(HTTPStatus(status), body, content_type)


def _json(value: object, status: int = 200) -> HttpResponse:
    return _page(msgspec.json.encode(value), JSON, status)


def path_of(target: bytes) -> bytes:
    """Return the path of a request's target, which may have a query, or be a whole URL."""
    try:
        path: bytes | None = httptools.parse_url(target).path
    except httptools.HttpParserInvalidURLError:
        return b""
    return path or b""


def _is_local(host: bytes, names: Collection[str]) -> bool:
    """Whether a `Host` header, which may have a port, is loopback's, or one of `names`; one that says nothing is."""
    name = host.decode("latin-1").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if not name or name == "localhost" or name in names:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
