"""What the data listeners have in common: how they open, and in which order they close."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Protocol

from invoker_http.address import close_all
from invoker_http.door import Door

logger = logging.getLogger("invoker.http")

BACKLOG: Final = 1024
"""Connections that may wait to be accepted: a controller opens many at once."""
HANDSHAKE: Final = 10.0
"""Seconds for a caller's TLS handshake."""
FLUSH: Final = 5.0
"""Seconds that callers have to take their last answers when the listener closes."""
RELIEF: Final = 1.0
"""Seconds until the next try where the machine has no room for a connection."""
TURNS: Final = 5
"""Turns of the event loop in which what the kernel has is read and answered; asyncio needs 3 of them."""
LINGER: Final = 1.0
"""Seconds for which input is still read after a refusal: closing sooner would reset the connection, and a caller in
the middle of sending would never see the reply. Also those for the end of TLS, and those
that a new caller has to send its first request when the listener closes."""


class Connections(Protocol):
    """All connections of a listener."""

    def accept(self) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        ...

    async def close(self) -> None:
        """Close all connections, new ones once they have had an answer.

        Those whose callers don't take their answers in time are cut.
        """
        ...


@asynccontextmanager
async def accepting(
    door: Door, connections: Connections, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Accept connections on bound sockets; leaving accepts no more, shuts the door, and then closes those there are.

    Whoever has connected by then is still answered: that no work is taken here any more. A connection that is
    closed with something unread in it, or that is sent something afterwards, is reset, and its caller would not know
    whether its message was taken (64 callers and a SIGTERM: up to 38 of them).
    """
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as leaving:
        entrance = _Entrance(connections, sockets, tls, tasks)
        leaving.callback(entrance.abandon)  # the last step; the first is below
        leaving.push_async_callback(connections.close)
        leaving.push_async_callback(entrance.settle)
        leaving.push_async_callback(door.shut)
        leaving.callback(entrance.close)
        entrance.open()
        yield


class _Entrance:
    """Where new connections come in.

    Servers of the event loops drop those that wait outside when they are closed, and that of Python 3.11 also what it
    has just accepted.
    """

    def __init__(
        self,
        connections: Connections,
        listeners: Sequence[socket.socket],
        tls: ssl.SSLContext | None,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._connections = connections
        self._listeners = listeners
        self._tls = tls
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._relief: asyncio.TimerHandle | None = None
        self._coming: set[asyncio.Task[None]] = set()
        """Those that are not in yet, such as in the middle of the handshake of TLS."""

    def open(self) -> None:
        """Let in whoever comes from now on."""
        for listener in self._listeners:
            listener.setblocking(False)  # noqa: FBT003 (the standard library's)
            listener.listen(BACKLOG)
        self._attend()

    def close(self) -> None:
        """Let in those who wait outside, and nobody after them."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            self._accept(listener)
        close_all(self._listeners)
        if self._relief is not None:
            self._relief.cancel()

    async def settle(self) -> None:
        """Wait until all are in, and what they and others have sent has come to its reader."""
        if self._coming:
            await asyncio.wait(self._coming, timeout=LINGER)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def abandon(self) -> None:
        """Wait for nobody any more."""
        for task in self._coming:
            task.cancel()

    def _attend(self) -> None:
        for listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                self._let_in(listener.accept()[0])
            except BlockingIOError:
                return
            except ConnectionError:  # who came has left
                continue
            except OSError as error:
                self._take_a_break(error)
                return

    def _take_a_break(self, error: OSError) -> None:
        """Accept nobody for a while: the machine has no room for a connection, such as for its descriptor."""
        logger.error("no connection can be accepted, next try in %g s: %s", RELIEF, error.strerror)
        for listener in self._listeners:
            self._loop.remove_reader(listener)
        if self._relief is not None:  # another listener's turn was due already
            self._relief.cancel()
        self._relief = self._loop.call_later(RELIEF, self._attend)

    def _let_in(self, connection: socket.socket) -> None:
        task = self._tasks.create_task(self._welcome(connection), name="http handshake")
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _welcome(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003 (the standard library's)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # noqa: FBT003 (likewise)
        handshake, shutdown = (HANDSHAKE, LINGER) if self._tls is not None else (None, None)
        try:
            await self._loop.connect_accepted_socket(
                self._connections.accept,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=shutdown,
            )
        except OSError as error:  # of TLS, too
            logger.debug("a caller did not come in: %s", error)
