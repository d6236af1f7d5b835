"""Requests, read from bytes in any pieces. No I/O; a parser (`httptools`), limits, and the door's word on each head.

Callers are strangers until the door has seen their head: how much of a request is kept is bounded from its first byte.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import httptools
import msgspec

from invoker.contracts import NO_CONTEXT
from invoker_http.context import PREFIX, context_of
from invoker_http.door import BAD_REQUEST, HEAD_TOO_LARGE, TOO_SLOW, Door
from invoker_http.reply import Reply

HEAD_LIMIT: Final = 16 << 10
"""Bytes of a request's line and headers."""


class Asked(msgspec.Struct):
    """One request, ready to be answered: with `reply` if there is one, else by taking `body`."""

    reply: Reply | None
    body: bytes
    context: Mapping[str, str]
    keep_alive: bool
    chunked: bool
    """Whether the caller understands a chunked response: one of HTTP/1.0 doesn't."""
    bodyless: bool
    """Whether the caller wants no body in the reply: HEAD."""


class RequestReader:
    """Bytes in, requests out, one after the other. The parser calls its `on_*` methods."""

    def __init__(self, door: Door, invite: Callable[[], None]) -> None:
        self._door = door
        self._invite = invite
        self.ready: deque[Asked] = deque()
        """Requests that nobody has taken yet."""
        self.partial = False
        """A request has begun and is not whole."""
        self.done = False
        """Nothing sensible can follow; whatever comes is dropped."""
        self.unread = False
        """The last request was refused before its end: its caller may still be sending."""
        self._parser = httptools.HttpRequestParser(self)
        self._forget()

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if self.done:
            return
        self._quiet += len(data)  # `on_body` and a new request set it back
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as declined:
            self._read_on(data[declined.args[0] :])
        except httptools.HttpParserError:
            self._refuse(BAD_REQUEST)
        if self.partial and self._quiet > HEAD_LIMIT:  # the parser keeps a header until it is whole, however long
            self._refuse(HEAD_TOO_LARGE)

    def give_up(self) -> None:
        """Wait no longer for the rest of a request."""
        self._refuse(TOO_SLOW)

    # --- what the parser calls ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Another request."""
        self._forget()
        self.partial = True

    def _forget(self) -> None:
        self.partial = False
        self._quiet = 0
        self._head = 0
        self._method = b""
        self._target = b""
        self._authorization = b""
        self._declared = 0
        self._has_body = False
        self._expects = False
        self._about: list[tuple[bytes, bytes]] | None = None
        self._reply: Reply | None = None
        self._body: bytes | bytearray = b""
        self._length = 0

    def on_url(self, target: bytes) -> None:
        """Note the target, which may come in pieces."""
        self._head += len(target)
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what the parser doesn't tell later, and what is said of the message."""
        self._head += len(name) + len(value)
        match len(name):
            case 14 if name.lower() == b"content-length":
                self._declared = int(value)  # the parser has seen that it is a number, and the only one
                self._has_body = self._declared > 0
            case 17 if name.lower() == b"transfer-encoding":
                self._has_body = True
            case 13 if name.lower() == b"authorization":
                self._authorization = value
            case 6 if name.lower() == b"expect":
                self._expects = value.lower() == b"100-continue"
            case length if length > len(PREFIX) and name[: len(PREFIX)].lower() == PREFIX:
                self._about = [*(self._about or ()), (name, value)]

    def on_headers_complete(self) -> None:
        """Ask the door. A body that it doesn't want is not waited for."""
        if self.done:
            return
        parser = self._parser
        self._method = parser.get_method()
        self._chunked = parser.get_http_version() == "1.1"
        # An upgrade, which some clients offer unasked (h2c), is declined: what follows is read as HTTP/1.1, once.
        self._keep_alive = self._chunked and parser.should_keep_alive() and not parser.should_upgrade()
        if self._head > HEAD_LIMIT:
            self._refuse(HEAD_TOO_LARGE)
            return
        self._reply = self._door.refusal(self._method, self._target, self._authorization, self._declared)
        if self._reply is not None and self._has_body:
            self._refuse(self._reply)
        elif self._expects and self._has_body:
            self._invite()

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, unless it is too much."""
        self._quiet = 0
        if self.done:
            return
        if self._length + len(data) > self._door.limit:
            self._refuse(self._door.too_large)
        elif self._length == 0:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        self._length += len(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.done:
            self.unread = False  # refused by its head, and yet it has come whole
            return
        if self._has_body and self._length == 0 and self._parser.should_upgrade():
            return  # the parser leaves the body of an upgrade unread, see `_read_on`
        self.partial = False
        self.done = not self._keep_alive
        context = context_of(self._about) if self._about else NO_CONTEXT
        self.ready.append(
            Asked(self._reply, bytes(self._body), context, self._keep_alive, self._chunked, self._method == b"HEAD")
        )
        self._body = b""

    # --- the exceptions ----------------------------------------------------------------------------------------

    def _refuse(self, reply: Reply) -> None:
        """End with a reply to the request that is being read, wherever it was."""
        if self.done:
            return
        self.done = self.unread = True
        self.partial = False
        self._body = b""
        bodyless = self._method == b"HEAD"
        self.ready.append(Asked(reply, b"", NO_CONTEXT, keep_alive=False, chunked=True, bodyless=bodyless))

    def _read_on(self, rest: bytes) -> None:
        """Read the body behind the head of a declined upgrade, as the parser doesn't."""
        if not self.partial or self.done:
            self.done = True
            return
        framing = b"Content-Length: %d" % self._declared if self._declared else b"Transfer-Encoding: chunked"
        self._parser = httptools.HttpRequestParser(_BodyOf(self))
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        self.feed(rest)


class _BodyOf:
    """What the parser calls for a request whose head was read before."""

    def __init__(self, reader: RequestReader) -> None:
        self.on_body = reader.on_body
        self.on_message_complete = reader.on_message_complete
