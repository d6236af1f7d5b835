"""The data listener: how connections come in, and in which order all of it ends."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from invoker_http.connection import LINGER, Connections, HttpConnection

logger = logging.getLogger("invoker.http")

BACKLOG: Final = 1024
"""Connections that may wait to be accepted: a controller opens many at once."""
ACCEPTED_AT_ONCE: Final = 64
"""Of these, before others have their turn: 5 ms."""
HANDSHAKE: Final = 10.0
"""Seconds for a caller's TLS handshake."""
RELIEF: Final = 1.0
"""Seconds until the next try where the machine has no room for a connection."""
TURNS: Final = 5
"""Turns of the event loop in which what the kernel has is read and answered; asyncio needs 3 of them."""


@asynccontextmanager
async def listening(
    connections: Connections, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None
) -> AsyncIterator["Acceptor"]:
    """Serve bound sockets; leaving answers whoever has connected, and closes every connection."""
    async with asyncio.TaskGroup() as handshakes:
        acceptor = Acceptor(connections, sockets, tls, handshakes)
        acceptor.open()
        try:
            yield acceptor
        finally:
            try:
                await acceptor.close()
                await connections.close()
            finally:
                acceptor.abandon()
                await connections.cut()


class Acceptor:
    """Lets connections in; a task takes each through its handshake, and no further.

    Servers of the event loops drop those that wait outside when they are closed, and that of Python 3.11 also what it
    has just accepted. Here whoever has connected is still answered: that no work is taken here any more. A connection
    that is closed with something unread in it, or that is sent something afterwards, is reset, and its caller would
    not know whether its message was taken (64 callers and a SIGTERM: up to 38 of them).
    """

    def __init__(
        self,
        connections: Connections,
        listeners: Sequence[socket.socket],
        tls: ssl.SSLContext | None,
        handshakes: asyncio.TaskGroup,
    ) -> None:
        self._connections = connections
        self._listeners = listeners
        self._tls = tls
        self._handshakes = handshakes
        self._loop = asyncio.get_running_loop()
        self._relief: asyncio.TimerHandle | None = None
        self._coming: set[asyncio.Task[None]] = set()
        """Those that are not in yet, such as in the middle of the handshake of TLS."""
        self.fault = ""
        """Why nobody can come in, if that is so."""

    def open(self) -> None:
        """Let in whoever comes from now on."""
        for listener in self._listeners:
            listener.listen(BACKLOG)
        self._attend()

    async def close(self) -> None:
        """Let in those who wait outside, and nobody after them; return when what they have sent has come in."""
        self._ignore()
        for listener in self._listeners:
            for _ in range(BACKLOG // ACCEPTED_AT_ONCE + 1):
                if not self._accept(listener):
                    break
                await asyncio.sleep(0)
        self._ignore()
        for listener in self._listeners:
            listener.close()
        if self._coming:
            await asyncio.wait(self._coming, timeout=LINGER)
        self.abandon()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def abandon(self) -> None:
        """Wait for nobody any more."""
        for task in self._coming:
            task.cancel()

    def _attend(self) -> None:
        self.fault = ""
        for listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def _ignore(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
        if self._relief is not None:
            self._relief.cancel()

    def _accept(self, listener: socket.socket) -> bool:
        """Accept some of those who wait; return whether there may be more."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return False
            except ConnectionError:  # who came has left
                continue
            except OSError as error:  # the machine has no room for a connection, such as for its descriptor
                self.fault = f"no connection can be accepted: {error.strerror}"
                logger.error(  # noqa: TRY400 (where it stood says nothing)
                    "no connection can be accepted, next try in %g s: %s", RELIEF, error.strerror
                )
                self._ignore()
                self._relief = self._loop.call_later(RELIEF, self._attend)
                return False
            task = self._handshakes.create_task(self._welcome(connection), name="http handshake")
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)
        return True

    async def _welcome(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003 (the standard library's)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # noqa: FBT003 (likewise)
        handshake, shutdown = (HANDSHAKE, LINGER) if self._tls is not None else (None, None)
        try:
            await self._loop.connect_accepted_socket(
                lambda: HttpConnection(self._connections),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=shutdown,
            )
        except OSError as error:  # of TLS, too
            logger.debug("a caller did not come in: %s", error)
