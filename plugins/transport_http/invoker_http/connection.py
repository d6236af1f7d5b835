"""Connections of the data listener: a small HTTP/1.1 server on callbacks of the event loop, without a task.

What comes is read, the core runs it, and its answer is written as the core gives it: half the processor time of a
general server. One request at a time on each; what a caller pipelines waits in the reader, and then in the kernel.
"""

import asyncio
import logging
from collections import Counter
from typing import Final, cast

from invoker.contracts import Answers, Intake
from invoker.entities.activation import Ack, Activation
from invoker.entities.request import Request
from invoker.wire.acknowledgement import Acknowledger
from invoker_http.requests import Endpoint, HttpRequest, RequestReader
from invoker_http.responses import INVITATION, RECEIPTS, HttpResponse, last_part
from invoker_http.settings import HttpSettings

logger = logging.getLogger("invoker.http")

FLUSH: Final = 5.0
"""Seconds that callers have to take their last answers when the listener closes."""
LINGER: Final = 1.0
"""Seconds for which input is still read after a refusal: closing sooner would reset the connection, and a caller in
the middle of sending would never see the response. Also those for the end of TLS, and those that a new caller has to
send its first request when the listener closes."""


class Connections:
    """All connections of the data listener, and what they need."""

    def __init__(self, endpoint: Endpoint, intake: Intake, acknowledger: Acknowledger, settings: HttpSettings) -> None:
        self.endpoint = endpoint
        self.intake = intake
        self.acknowledger = acknowledger
        self.patience = float(settings.body_timeout)
        self.keep_alive = float(settings.keep_alive)
        self.encrypted = settings.tls.certificate is not None
        self.loop = asyncio.get_running_loop()
        self.open: set[HttpConnection] = set()
        self.responses: Counter[int] = Counter()
        """Requests that were answered without running anything, by status."""

    async def close(self) -> None:
        """Close all; new ones once they have had an answer. Those whose callers don't take theirs in time are cut."""
        for connection in tuple(self.open):
            connection.part()
        await self._gone(FLUSH)

    async def cut(self) -> None:
        """Close those that are left, whatever is unsent."""
        for connection in tuple(self.open):
            connection.cut()
        await self._gone(LINGER)

    async def _gone(self, seconds: float) -> None:
        if self.open:
            await asyncio.wait([connection.lost for connection in self.open], timeout=seconds)


class HttpConnection(asyncio.Protocol):
    """One caller's connection. A caller that leaves loses its answer and nothing else."""

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle
    """May ring before the deadline, so that it need not be set anew for each request."""
    _deadline: float
    """When a request must have come, or be whole; or what is written, taken."""

    def __init__(self, owner: Connections) -> None:
        self._owner = owner
        self._loop = owner.loop
        self._reader = RequestReader(owner.endpoint)
        self._running = False  # the core has a message of this caller's; its answer comes before anything else
        self._full = False  # more is written than the caller has taken; nothing more is begun
        self._taken: asyncio.Future[None] | None = None  # what an answer waits for that the caller has not taken
        self._fresh = True  # nothing was answered yet
        self._arriving = False  # the deadline is that of a request that has begun to arrive
        self._reading_paused = False
        self._ending = False  # no further request is wanted, or none can come
        self._closing = False  # closed, or about to be: nothing more is answered
        self.lost = self._loop.create_future()

    # --- requests ----------------------------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Begin to answer the next request; without one wait for it, or close. At most one at each turn of the loop."""
        if self._running or self._full or self._closing:
            return  # the end of that leads here again
        reader = self._reader
        if reader.rest and not reader.ready:
            reader.parse()
        if reader.ready:
            self._answer(reader.ready.popleft())
        elif reader.rest:
            self._loop.call_soon(self._proceed)
        elif self._ending or reader.done:
            self._hang_up()
        else:
            self._wait()

    def _answer(self, request: HttpRequest) -> None:
        owner = self._owner
        self._fresh = self._arriving = False
        response = request.response or owner.endpoint.admit(request)
        if isinstance(response, HttpResponse):
            owner.responses[response.status.value] += 1
            keep_alive = request.keep_alive and not response.closes
            self.write(response.encoded(keep_alive=keep_alive, bodyless=request.method == b"HEAD"))
            self._go_on(keep_alive=keep_alive)
        else:
            self._running = True
            owner.intake.invoke(response, BodyAnswers(self, owner.acknowledger, response.request, request))

    def _go_on(self, *, keep_alive: bool) -> None:
        """Have the next request answered, after one that has been."""
        if not keep_alive:
            self._hang_up()
        elif self._ending or self._reader.ready or self._reader.rest:
            self._loop.call_soon(self._proceed)
        elif not self._full:
            self._wait()

    def _wait(self) -> None:
        """Wait for a request, or for the rest of one."""
        reader = self._reader
        if self._reading_paused:
            self._resume_reading()
        if reader.held_back:
            reader.held_back = False
            self.write(INVITATION)
        if not reader.partial:
            self._allow(self._owner.keep_alive)
        elif not self._arriving:
            self._arriving = True
            self._allow(self._owner.patience)

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # --- answers -----------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send something; what nobody is there for is dropped."""
        if self._closing or self._transport.is_closing():
            logger.debug("a caller left before its answer")
        else:
            self._transport.write(data)

    async def finish(self, acknowledgement: bytes, request: HttpRequest) -> None:
        """Send the last part of a response, and return when the caller has taken most of it."""
        self.write(last_part(acknowledgement, chunked=request.chunked))
        if self._full:
            self._taken = self._loop.create_future()
            try:
                await self._taken
            except asyncio.CancelledError:
                self.cut()
                raise
        self._running = False
        if not self._closing:
            self._go_on(keep_alive=request.keep_alive)

    # --- the end -----------------------------------------------------------------------------------------------

    def part(self) -> None:
        """Close when what has come is answered; a caller's first request, and one that arrives, may still come in."""
        if self._closing:
            return
        if self._fresh or self._reader.partial:
            self._timer.cancel()
            self._timer = self._loop.call_later(LINGER, self._end)
        else:
            self._end()

    def cut(self) -> None:
        """Close now, whatever is unsent."""
        self._closing = True
        self._transport.abort()

    def _end(self) -> None:
        """Close as soon as what has come is answered."""
        self._ending = True
        self._proceed()

    def _hang_up(self) -> None:
        """Close, but let the caller read what it was sent."""
        self._closing = True
        self._timer.cancel()
        if not self._reader.unread or self._transport.is_closing():
            self._close()
            return
        if self._reading_paused:
            self._resume_reading()
        if self._transport.can_write_eof():  # TLS can't
            self._transport.write_eof()
        self._timer = self._loop.call_later(LINGER, self._close)

    def _close(self) -> None:
        self._transport.close()
        self._timer = self._loop.call_later(self._owner.patience, self._transport.abort)

    # --- time --------------------------------------------------------------------------------------------------

    def _allow(self, seconds: float) -> None:
        """Set the deadline."""
        self._deadline = self._loop.time() + seconds
        if self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._expire)

    def _expire(self) -> None:
        """Look whether something has taken too long."""
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._expire)
        elif self._full:
            self.cut()  # nobody reads the answer
        elif self._running:
            self._timer = self._loop.call_later(self._owner.patience, self._expire)
        elif self._reader.partial:
            self._reader.give_up()
            self._proceed()
        else:
            self._end()

    # --- what the event loop calls, see `asyncio.Protocol` -----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._owner.open.add(self)
        self._transport = cast("asyncio.Transport", transport)
        self._deadline = self._loop.time() + self._owner.keep_alive
        self._timer = self._loop.call_at(self._deadline, self._expire)

    def data_received(self, data: bytes) -> None:
        """Read on; what can't be answered at once has to wait, and so has what comes after it."""
        reader = self._reader
        reader.feed(data)
        if not self._running:
            self._proceed()
        if (reader.ready or reader.rest) and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Keep the connection for the answer of a caller that only stops sending (TLS can't do that)."""
        self._ending = True
        return self._running and not self._closing and not self._owner.encrypted

    def pause_writing(self) -> None:
        """Have the caller take what is written, for a while."""
        self._full = True
        self._allow(self._owner.patience)

    def resume_writing(self) -> None:
        """Go on."""
        self._full = False
        self._tell_taken()
        self._proceed()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 (whatever the reason)
        """Let go of everything: what refers to itself is not collected for long (`app` has the collector wait)."""
        self._closing = True
        self._full = False
        self._timer.cancel()
        self._reader.close()
        self._tell_taken()
        self._owner.open.discard(self)
        self.lost.set_result(None)

    def _tell_taken(self) -> None:
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)


class BodyAnswers(Answers):
    """How a caller over HTTP is told: one acknowledgement, in the body of the response. See `contracts.Answers`."""

    __slots__ = ("_acknowledger", "_connection", "_http", "_request")

    def __init__(
        self, connection: HttpConnection, acknowledger: Acknowledger, request: Request, http: HttpRequest
    ) -> None:
        self._connection = connection
        self._acknowledger = acknowledger
        self._request = request
        self._http = http

    async def accepted(self) -> None:
        """Send the header: the caller knows that the message will run, before it does (spec 12.5)."""
        self._connection.write(RECEIPTS[self._http.chunked, self._http.keep_alive])

    async def completed(self, activation: Activation, ack: Ack) -> None:
        """Send the body. It must free the slot and be a result, so a bare completion becomes a shrunk one."""
        if ack is Ack.COMPLETION:
            ack = Ack.SHRUNK
        await self._connection.finish(self._acknowledger.encode(ack, self._request, activation), self._http)
