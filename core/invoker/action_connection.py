"""One kept HTTP/1.1 connection to an action proxy: one request at a time, no OpenWhisk.

A general HTTP client costs more than the rest of a warm invocation together; this is a protocol object, a parser, one
timer and one future per request. **Nothing is sent twice**: once the first byte of a request is on its way, whatever
breaks is reported and never tried again (spec T54), so all doubt about a kept connection is settled before that.
"""

import asyncio
import errno
import select
import socket
from typing import Final, Self, cast

from invoker.action_reply import Disconnected, ReplyReader
from invoker.entities.container import Body, Reply
from invoker.errors import PostTimedOut, Unreachable

__all__ = ["ActionConnection", "Disconnected"]

FIRST_PAUSE: Final = 0.002
LAST_PAUSE: Final = 0.05
_PATIENCE: Final = 0.125
"""Seconds between attempts to reach a proxy that boots: this part of what it has taken so far, within those bounds
(spec 9.5.2). So nobody learns of it much later than it is: doubling cost one that boots in 80 ms another 40 (Node.js).
"""

_NOT_YET: Final = frozenset(
    (None, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH)
)
"""How a container says that it boots; `None` is asyncio's way to say that each of a host's addresses failed."""


class ActionConnection:
    """The way to one action proxy. `host` is an address; nothing is connected before the first `post`."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._path: str | None = None
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._heads: dict[str, bytes] = {}
        self._wire: _Wire | None = None
        self._busy = False
        self._closed = False
        self._connecting: asyncio.Timeout | None = None

    @classmethod
    def unix(cls, path: str) -> Self:
        """Return the way to one that listens on a Unix socket."""
        connection = cls("localhost", 0)
        connection._path = path
        connection._authority = "localhost"
        return connection

    async def post(self, path: str, body: Body, *, timeout: float, limit: int, wait: bool = False) -> Reply:  # noqa: ASYNC109
        """Send a JSON body and read the whole reply, keeping at most `limit` bytes of it.

        The kept connection is used only if it can't be in doubt: the peer neither closed it nor wrote to it, and it was
        idle for under a second, or under the peer's `Keep-Alive: timeout` less a second (Node.js closes after five).
        Otherwise a new one is made first. Cancelling this closes the connection.

        `timeout` bounds everything in seconds: connecting, sending, and reading to the last byte. With `wait` a refused
        connection is tried again until then: the proxy is booting (spec 9.5.2, T57).

        Raises:
            Unreachable: no byte was sent: refused, or closed meanwhile.
            Disconnected: the connection ended before a whole reply was read.
            PostTimedOut: `timeout` seconds are over, whatever they were spent on; the connection is closed. With `wait`
                it tells of a proxy that never took one.
            RuntimeError: another request is in flight.
        """
        if self._busy:
            raise RuntimeError(f"a request to {self._authority} is in flight already")
        self._busy = True
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            wire = self._wire
            if wire is None or not wire.fit(now):
                wire = await self._connect(now + timeout, timeout, wait=wait)
            wire.allow(now + timeout, timeout)
            return await wire.send(self._heads.get(path) or self._head(path), body, limit)
        finally:
            self._busy = False
            if self._wire is not None and not self._wire.idle:  # failed, cancelled, or the peer wants it closed
                self._drop()

    def forget(self) -> None:
        """Don't use the connection again that is open now: the container was, or will be, paused (spec T55)."""
        if self._wire is not None:
            self._wire.doubtful = True
            if not self._busy:
                self._drop()

    def close(self) -> None:
        """Close for good. A request in flight fails: `Disconnected`, or `Unreachable` if it was not sent yet."""
        self._closed = True
        if self._connecting is not None and not self._connecting.expired():
            self._connecting.reschedule(asyncio.get_running_loop().time())
        if self._wire is not None:
            self._wire.fail(Disconnected(f"the connection to {self._authority} was closed here"))
            self._drop()

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    def _head(self, path: str) -> bytes:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._authority}\r\nContent-Type: application/json\r\n"  # spec T56
            f"Accept: application/json\r\nContent-Length: "
        ).encode("ascii")
        self._heads[path] = head
        return head

    async def _connect(self, deadline: float, timeout: float, *, wait: bool) -> "_Wire":  # noqa: ASYNC109
        self._drop()
        try:
            if not self._closed:
                async with asyncio.timeout_at(deadline) as self._connecting:
                    self._wire = await self._reach(wait=wait)
        except TimeoutError:
            if not self._closed:
                raise PostTimedOut(timeout, deaf=self._port if wait else None) from None
        finally:
            self._connecting = None
        if self._closed or self._wire is None:
            self._drop()
            raise Unreachable(f"the connection to {self._authority} is closed")
        return self._wire

    async def _reach(self, *, wait: bool) -> "_Wire":
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                if self._path is None:
                    _, wire = await loop.create_connection(_Wire, self._host, self._port)
                else:
                    _, wire = await loop.create_unix_connection(_Wire, sock=_connected(self._path))
            except OSError as error:
                if not wait or error.errno not in _NOT_YET:
                    raise Unreachable(f"can't connect to {self._authority}: {error}") from error
                taken = loop.time() - began
                await asyncio.sleep(min(max(FIRST_PAUSE, _PATIENCE * taken), LAST_PAUSE))
            else:
                return wire


def _connected(path: str) -> socket.socket:
    """Return a connection to a Unix socket, which is made or refused at once.

    Event loops take one that is refused because too many wait (`EAGAIN`) for one that is made.

    Raises:
        OSError: it is refused.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setblocking(False)  # noqa: FBT003 (takes no keyword)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


class _Wire(asyncio.Protocol):
    """One connection and the request in flight on it, if there is one."""

    _transport: asyncio.Transport
    _loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self._reader = ReplyReader()
        self._answer: asyncio.Future[Reply] | None = None
        self._idle_since = 0.0
        self._deadline = 0.0
        self._allowed = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        """One timer for all requests: it may ring early, and is then set again. Setting it for each costs 4 µs."""
        self._alarm_at = 0.0
        self.doubtful = False
        """Never to be used for another request."""

    @property
    def idle(self) -> bool:
        """Whether it can be kept: no request is in flight and the last reply was read to its end."""
        return self._answer is None and not self.doubtful

    def fit(self, now: float) -> bool:
        """Whether a request may be sent. Asks the kernel too, which may know of an end that the loop hasn't come to."""
        return not self.doubtful and now - self._idle_since < self._reader.idle_limit and not self._poll(0)

    def send(self, head: bytes, body: Body, limit: int) -> asyncio.Future[Reply]:
        """Send a request; the future has the reply or the error."""
        self._reader.begin(limit)
        answer = self._answer = self._loop.create_future()
        self._transport.writelines((b"%b%d\r\n\r\n" % (head, len(body)), body))  # one system call, no copy
        return answer

    def allow(self, deadline: float, seconds: float) -> None:
        """Give the next request until `deadline`, which is in `seconds`; then it fails: `PostTimedOut`."""
        self._deadline = deadline
        self._allowed = seconds
        if self._alarm is None or deadline < self._alarm_at:
            self._set_alarm()

    def _set_alarm(self) -> None:
        self._stop_alarm()
        self._alarm_at = self._deadline
        self._alarm = self._loop.call_at(self._deadline, self._ring)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        self._alarm = None
        if self._answer is None:  # nobody waits
            return
        if self._loop.time() >= self._deadline:
            self.fail(PostTimedOut(self._allowed))
        else:
            self._set_alarm()

    def fail(self, error: Exception) -> None:
        """End the request in flight, if there is one."""
        self.doubtful = True
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():  # done: cancelled, and its owner not yet awake
            answer.set_exception(error)

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self.doubtful = True
        self._stop_alarm()
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._idle_since = self._loop.time()
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._answer is None:  # nobody asked
            self.abort()
            return
        try:
            reply = self._reader.feed(data)
        except Disconnected as error:
            self.fail(error)
        else:
            if reply is not None:
                self._deliver(reply)

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        self.doubtful = True
        if self._answer is not None and (reply := self._reader.ended()) is not None:
            self._deliver(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_alarm()
        self.fail(Disconnected(f"the connection ended before a whole reply was read: {error or 'closed by the peer'}"))

    def _deliver(self, reply: Reply) -> None:
        answer, self._answer = self._answer, None
        self._idle_since = self._loop.time()
        # A peer that answers before it has read the request will not read the rest of it as something else.
        if not self._reader.reusable or self._transport.get_write_buffer_size():
            self.doubtful = True
        if answer is not None and not answer.done():
            answer.set_result(reply)
