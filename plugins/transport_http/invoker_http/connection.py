"""Connections of a listener: a small HTTP/1.1 server on callbacks of the event loop, without a task.

What comes is read, the core runs it, and its answer is written as the core gives it: half the processor time of a
general server. One request at a time on each; what a caller pipelines waits unparsed, and then in the kernel.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final, cast

from invoker.contracts import Answers, Intake
from invoker.entities.activation import Ack, Activation
from invoker.entities.request import Request
from invoker.errors import Busy
from invoker.wire.acknowledgement import Acknowledger
from invoker_http import responses
from invoker_http.endpoints import Endpoint, HttpRequest
from invoker_http.requests import RequestReader
from invoker_http.responses import INVITATION, RECEIPTS, HttpResponse, Refusals
from invoker_http.settings import HttpSettings

logger = logging.getLogger("invoker.http")

TURN: Final = 0.001  # seconds of each turn of the loop for those that wait for theirs, and as much for new input
FLUSH: Final = 5.0  # seconds that callers have to take their last answers when the listener closes
LINGER: Final = 1.0
"""Seconds for which input is read after a refusal: closing sooner would reset the connection, and who is still sending
would never see the response. Also for the end of TLS, and a new caller's first request where others need its room."""


class Connections:
    """All connections of a listener, `most` at a time. Each has its turn, whatever others send."""

    def __init__(
        self,
        endpoint: Endpoint,
        intake: Intake,
        acknowledger: Acknowledger,
        settings: HttpSettings,
        refusals: Refusals,
        *,
        most: int,
    ) -> None:
        self.endpoint = endpoint
        self.intake = intake
        self.acknowledger = acknowledger
        self.refusals = refusals
        self.patience = float(settings.body_timeout)
        self.keep_alive = float(settings.keep_alive)
        self.most = most
        self.loop = asyncio.get_running_loop()
        self.open: set[HttpConnection] = set()
        self.newcomers: dict[HttpConnection, float] = {}
        """Those of which no message was taken, and since when they are here; in order. They leave first."""
        self._queue: deque[HttpConnection] = deque()
        """Those that can go on when their turn comes."""
        self._turning = False
        self._owed = 0.0
        """Until when, by `perf_counter`, what was done for connections has taken more than half of the time."""

    def serve(self, connection: "HttpConnection") -> None:
        """Have a connection go on: at once, unless it waits already, or too much was done at once just now."""
        begun = perf_counter()
        if connection.waits or self._owed - begun > TURN:
            self._line_up(connection)
        else:
            if connection.go_on():
                self._line_up(connection)
            self._owed = max(self._owed, begun) + 2 * (perf_counter() - begun)
        connection.settle()

    def _line_up(self, connection: "HttpConnection") -> None:
        if not self._turning:
            self._turning = True
            self.loop.call_soon(self._turn)
        if not connection.waits:
            connection.waits = True
            self._queue.append(connection)

    def _turn(self) -> None:
        """Serve those that wait, one piece after the other of each, for as long as a turn of the loop may take."""
        end, queue = perf_counter() + TURN, self._queue
        try:
            while queue:
                connection = queue.popleft()
                connection.waits = False
                if connection.go_on():
                    self._line_up(connection)
                connection.settle()
                if perf_counter() >= end:
                    break
        finally:  # whatever broke, the others have their turn
            self._turning = bool(queue)
            if queue:
                self.loop.call_soon(self._turn)

    def make_room(self) -> bool:
        """Have the newcomer leave that has been here longest, if it has had the time for a request."""
        newcomer = next(iter(self.newcomers), None)
        if newcomer is None or self.loop.time() - self.newcomers[newcomer] < LINGER:
            return False
        del self.newcomers[newcomer]
        newcomer.make_room()
        return True

    async def close(self) -> None:
        """Close all, new ones once they have had an answer; wait for a while until callers have taken theirs."""
        await self._end(HttpConnection.part, FLUSH)

    async def cut(self) -> None:
        """Close those that are left, whatever is unsent."""
        await self._end(HttpConnection.cut, LINGER)

    async def _end(self, how: Callable[["HttpConnection"], None], seconds: float) -> None:
        for connection in tuple(self.open):
            how(connection)
        if self.open:
            await asyncio.wait([connection.lost for connection in self.open], timeout=seconds)


class HttpConnection(asyncio.Protocol):
    """One caller's connection. A caller that leaves loses its answer and nothing else."""

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle  # may ring before the deadline, so that it need not be set anew for each request
    _deadline: float  # when a request must have come, or be whole; or what is written, taken

    def __init__(self, owner: Connections, *, surplus: bool = False) -> None:
        """One that is `surplus` is told so."""
        self._owner = owner
        self._loop = owner.loop
        self._reader = RequestReader(owner.endpoint)
        if surplus:
            self._reader.refuse(responses.CROWDED)
        self._kept = 0  # bytes that the core counts for what was sent here and is not taken yet
        self._running = False  # the core has a message of this caller's; its answer comes before anything else
        self._taken = asyncio.Event()  # not set: more is written than the caller has taken; nothing more is begun
        self._taken.set()
        self._fresh = True  # nothing was answered yet
        self._arriving = False  # the deadline is that of a request that has begun to arrive
        self._paused = False  # nothing is read
        self._ending = False  # no further request is wanted, or none can come
        self._closing = False  # closed, or about to be: nothing more is answered
        self.waits = False  # in the queue for its turn; its owner's
        self.lost = self._loop.create_future()

    def go_on(self) -> bool:
        """Parse a piece, and begin to answer a request; without one wait for it, or close. Return whether to go on."""
        reader = self._reader
        further = reader.read()
        if self._held():
            return further
        if (request := reader.take()) is not None:
            self._answer(request)
        elif not reader.more and (self._ending or reader.done):
            self._hang_up()
        if self._held():
            return False
        if reader.more or self._ending or reader.done:
            return True
        self._wait()
        return False

    def _held(self) -> bool:
        """Whether something has to end first, which leads back here."""
        return self._running or self._closing or not self._taken.is_set()

    def settle(self) -> None:
        """Count what waits here, which must have room; and read no more before it is gone."""
        reader, transport = self._reader, self._transport
        if not (reader.partial or self._kept or self._paused or reader.more):
            return
        if reader.more != self._paused and not transport.is_closing():
            self._paused = reader.more
            (transport.pause_reading if self._paused else transport.resume_reading)()
        if (kept := reader.kept) > self._kept:
            try:
                self._owner.intake.reserve(kept - self._kept)
            except Busy as busy:
                self.refuse(responses.busy(busy, closes=True))
            else:
                self._kept = kept
        elif kept < self._kept:
            self._owner.intake.release(self._kept - kept)
            self._kept = kept

    def refuse(self, response: HttpResponse) -> None:
        """Give up what arrives, with a response."""
        self._reader.refuse(response)
        self._owner.serve(self)

    def make_room(self) -> None:
        """Leave, for others to come in."""
        if not self._taken.is_set():
            self.cut()
        elif self._reader.partial:
            self.refuse(responses.CROWDED)
        else:
            self._end()

    def _answer(self, request: HttpRequest) -> None:
        owner = self._owner
        self._fresh = self._arriving = False
        if self._kept:
            self.settle()  # from here on the core counts the body
        response = request.response or owner.endpoint.admit(request)
        if isinstance(response, HttpResponse):
            owner.refusals.note(response, self._transport)
            keep_alive = request.keep_alive and not response.closes
            self.write(response.encoded(keep_alive=keep_alive, bodyless=request.method == b"HEAD"))
            if not keep_alive:
                self._hang_up()
        else:
            self._running = True
            owner.newcomers.pop(self, None)
            owner.intake.invoke(response, BodyAnswers(self, owner.acknowledger, response.request, request))

    def _wait(self) -> None:
        """Wait for a request, or for the rest of one."""
        reader, owner = self._reader, self._owner
        if reader.held_back:
            reader.held_back = False
            self.write(INVITATION)
        if reader.partial and not self._arriving:
            self._arriving = True
            self._allow(owner.patience)
        elif not (reader.partial or self._fresh):  # a newcomer's time goes on as from its beginning
            self._allow(owner.keep_alive)

    def write(self, data: bytes) -> None:
        """Send something; what nobody is there for is dropped."""
        if self._closing or self._transport.is_closing():
            logger.debug("a caller left before its answer")
        else:
            self._transport.write(data)

    async def finish(self, acknowledgement: bytes, request: HttpRequest) -> None:
        """Send the last part of a response, and return when the caller has taken most of it."""
        size = len(acknowledgement)  # HTTP/1.0 has no chunks: there the body ends unmarked
        self.write(b"%x\r\n%b\r\n0\r\n\r\n" % (size, acknowledgement) if request.chunked else acknowledgement)
        try:
            await self._taken.wait()
        except asyncio.CancelledError:
            self.cut()
            raise
        self._running = False
        if self._closing:
            return
        if not request.keep_alive:
            self._hang_up()
        elif self._ending or self._reader.more:
            self._owner.serve(self)
        else:
            self._wait()

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
        self._owner.serve(self)

    def _hang_up(self) -> None:
        """Close, but let the caller read what it was sent."""
        self._closing = True
        self._timer.cancel()
        if self._reader.unread and not self._transport.is_closing():
            if self._transport.can_write_eof():  # TLS can't
                self._transport.write_eof()
            self._timer = self._loop.call_later(LINGER, self._close)
        else:
            self._close()

    def _close(self) -> None:
        self._transport.close()
        self._timer = self._loop.call_later(self._owner.patience, self._transport.abort)

    def _allow(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._expire)

    def _expire(self) -> None:
        """Look whether something has taken too long."""
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._expire)
        elif not self._taken.is_set():
            self.cut()  # nobody reads the answer
        elif self._running:
            self._timer = self._loop.call_later(self._owner.patience, self._expire)
        elif self._reader.partial:
            self.refuse(responses.TOO_SLOW)
        else:
            self._end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        owner = self._owner
        owner.open.add(self)
        self._transport = cast("asyncio.Transport", transport)
        self._deadline = self._loop.time() + min(owner.keep_alive, owner.patience)
        self._timer = self._loop.call_at(self._deadline, self._expire)
        if self._reader.more:
            owner.serve(self)
        else:
            owner.newcomers[self] = self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Go on; what can't be answered at once has to wait, and so has what comes after it."""
        self._reader.feed(data)
        self._owner.serve(self)

    def eof_received(self) -> bool:
        """Keep the connection for the answer of a caller that only stops sending (TLS can't do that)."""
        self._ending = True
        return (self._running or self._reader.more) and not self._closing and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """Have the caller take what is written, for a while."""
        self._taken.clear()
        self._allow(self._owner.patience)

    def resume_writing(self) -> None:
        """Go on."""
        self._taken.set()
        self._owner.serve(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 (whatever the reason)
        """Let go of everything: what refers to itself is not collected for long (`app` has the collector wait)."""
        self._closing = True
        self._timer.cancel()
        self._reader.close()
        self.settle()
        self._taken.set()
        self._owner.newcomers.pop(self, None)
        self._owner.open.discard(self)
        self.lost.set_result(None)


@dataclass(slots=True, eq=False)
class BodyAnswers(Answers):
    """How a caller over HTTP is told: one acknowledgement, in the body of the response. See `contracts.Answers`."""

    connection: HttpConnection
    acknowledger: Acknowledger
    request: Request
    http: HttpRequest

    async def accepted(self) -> None:
        """Send the header: the caller knows that the message will run, before it does (spec 12.5)."""
        self.connection.write(RECEIPTS[self.http.chunked, self.http.keep_alive])

    async def completed(self, activation: Activation, ack: Ack) -> None:
        """Send the body. It must free the slot and be a result, so a bare completion becomes a shrunk one."""
        if ack is Ack.COMPLETION:
            ack = Ack.SHRUNK
        await self.connection.finish(self.acknowledger.encode(ack, self.request, activation), self.http)
