"""The data listener on a small HTTP/1.1 protocol of its own: half the processor time of a general server.

One task for each connection, one request at a time on it; what a caller pipelines waits in the reader, and then in the
kernel. A caller that leaves loses its answer and nothing else: an invocation never ends because of its connection.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from invoker_http.accepting import FLUSH, LINGER, accepting
from invoker_http.door import Door
from invoker_http.request_reader import Asked, RequestReader
from invoker_http.response import INVITATION, Response
from invoker_http.settings import HttpSettings

logger = logging.getLogger("invoker.http")


@asynccontextmanager
async def listening(
    door: Door, settings: HttpSettings, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Serve the door on bound sockets; leaving shuts it, waits for what runs, and closes every connection."""
    async with asyncio.TaskGroup() as tasks:
        connections = _Connections(door, settings, tasks, encrypted=tls is not None)
        async with accepting(door, connections, sockets, tls):
            yield


class _Connections:
    """All connections of a listener, and their tasks."""

    def __init__(self, door: Door, settings: HttpSettings, tasks: asyncio.TaskGroup, *, encrypted: bool) -> None:
        self.door = door
        self.patience = float(settings.body_timeout)
        self.keep_alive = float(settings.keep_alive)
        self.encrypted = encrypted
        self._group = tasks
        self._tasks: dict[asyncio.Task[None], _Connection] = {}
        self._closed = False

    def accept(self) -> "_Connection":
        """See `accepting.Connections`."""
        return _Connection(self)

    def welcome(self, connection: "_Connection") -> None:
        """Serve a connection from now on."""
        if self._closed:
            connection.abort()
            return
        task = self._group.create_task(connection.serve(), name="http connection")
        self._tasks[task] = connection
        task.add_done_callback(self._tasks.__delitem__)

    async def close(self) -> None:
        """See `accepting.Connections`."""
        self._closed = True
        for connection in self._tasks.values():
            connection.part()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=FLUSH)
        for connection in self._tasks.values():
            connection.abort()


class _Connection(asyncio.Protocol):
    """One caller's connection."""

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self, owner: _Connections) -> None:
        self._owner = owner
        self._door = owner.door
        self._reader = RequestReader(owner.door, self._invite)
        self._loop = asyncio.get_running_loop()
        self._lost = self._loop.create_future()
        self._waiter: asyncio.Future[None] | None = None
        """What `serve` waits for: a request, room to write, or the end."""
        self._fresh = True
        """Nothing was answered yet."""
        self._ending = False
        """No further request is wanted, or none can come."""
        self._busy = False
        self._since = self._loop.time()
        """When the connection became idle, or the request that is arriving began."""
        self._arriving = False
        """The timer knows of a request that is arriving."""
        self._uninvited = False
        """A caller holds back a body that it wasn't asked for yet."""
        self._reading_paused = False
        self._writing_paused = False
        self._full_since = 0.0
        """When more was written than the caller had read."""

    def end(self) -> None:
        """Close as soon as the request that is being answered has been."""
        self._ending = True
        self._wake()

    def part(self) -> None:
        """Close as `end` does, but have a caller's first request, and one that is arriving, come in first."""
        if self._fresh or self._reader.partial:
            self._timer.cancel()
            self._timer = self._loop.call_later(LINGER, self.end)
        else:
            self.end()

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self._transport.abort()

    async def serve(self) -> None:
        """Answer one request after the other, until the caller or the listener wants no more."""
        try:
            while await self._requested():
                asked = self._reader.ready.popleft()
                if self._reading_paused and not self._reader.ready:
                    self._resume_reading()
                if not await self._answered(asked):
                    break
            await self._hang_up()
        except Exception:
            logger.exception("a connection broke")  # and must not take the others along
        finally:
            self._timer.cancel()
            if not self._lost.done():  # TLS of Python 3.11.2, Debian 12's, can't be closed once it is
                self._transport.abort()

    async def _requested(self) -> bool:
        """Wait for a request; False if none will come."""
        while not self._lost.done():
            if self._reader.ready:
                return True
            if self._ending:
                return False
            if self._uninvited:
                self._invite()
            await self._wait()
        return False

    async def _answered(self, asked: Asked) -> bool:
        """Answer a request; return whether another may follow."""
        self._busy = True
        self._fresh = False
        response = Response(self._transport, chunked=asked.chunked, keep_alive=asked.keep_alive)
        if asked.reply is None:
            await self._door.take(asked.body, asked.context, response)
        else:
            response.whole(asked.reply, bodyless=asked.bodyless)
            if self._reader.unread and not self._reader.ready:
                response.half_close()
        while self._writing_paused:
            await self._wait()
        self._busy = False
        self._since = self._loop.time()
        return response.keep_alive

    async def _hang_up(self) -> None:
        """Close, but let the caller read what it was sent."""
        if self._reader.unread and not self._lost.done():
            await asyncio.wait((self._lost,), timeout=LINGER)
        self._transport.close()
        if not self._lost.done():
            await asyncio.wait((self._lost,), timeout=self._owner.patience)

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _invite(self) -> None:
        """Ask for the body that a caller holds back; later, if that would come between another response's parts."""
        self._uninvited = self._busy or bool(self._reader.ready)
        if not self._uninvited:
            self._transport.write(INVITATION)

    # --- time --------------------------------------------------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        """Look whether something has taken too long. The timer isn't set anew for each request, so it may be early."""
        now = self._loop.time()
        if self._busy:
            if self._writing_paused and now - self._full_since >= self._owner.patience:
                self._transport.abort()  # nobody reads the answer
            self._watch(self._owner.patience)
            return
        allowed = self._owner.patience if self._reader.partial else self._owner.keep_alive
        left = self._since + allowed - now
        if left > 0:
            self._arriving = self._reader.partial
            self._watch(left)
        elif self._reader.partial:
            self._reader.give_up()
            self._wake()
        else:
            self.end()

    # --- what the event loop calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._watch(self._owner.keep_alive)
        self._owner.welcome(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        reader = self._reader
        reader.feed(data)
        if reader.ready:
            self._arriving = False
            if self._waiter is not None and not self._busy:
                self._wake()
            elif not self._reading_paused:
                self._reading_paused = True
                self._transport.pause_reading()
        elif reader.partial and not self._arriving and not self._busy:
            self._arriving = True
            self._since = self._loop.time()
            self._timer.cancel()
            self._watch(self._owner.patience)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: a caller that only stops sending still gets its answer (TLS can't do that)."""
        self.end()
        return not self._owner.encrypted and (self._busy or bool(self._reader.ready))

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writing_paused = True
        self._full_since = self._loop.time()
        self._timer.cancel()
        self._watch(self._owner.patience)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writing_paused = False
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 (whatever the reason)
        """See `asyncio.Protocol`."""
        self._timer.cancel()
        self._writing_paused = False
        self._lost.set_result(None)
        self._wake()
