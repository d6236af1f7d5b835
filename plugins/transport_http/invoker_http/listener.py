"""A listener: how connections come in, and in which order all of it ends."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from invoker_http.connection import LINGER, Connections, HttpConnection
from invoker_http.tls import ServerTls

logger = logging.getLogger("invoker.http")

BACKLOG: Final = 1024  # connections that may wait to be accepted: a controller opens many at once
ACCEPTED_AT_ONCE: Final = 64  # of these, before others have their turn: 5 ms
SURPLUS: Final = 64  # connections beyond those that there may be, which are told so; all others wait outside
RELIEF: Final = 1.0  # seconds until the next try where there is no room for a connection
TURNS: Final = 5  # of the event loop, in which what the kernel has is read and answered; asyncio needs 3


@asynccontextmanager
async def listening(
    connections: Connections, sockets: Sequence[socket.socket], tls: ServerTls | None
) -> AsyncIterator["Acceptor"]:
    """Serve bound sockets; leaving answers whoever has connected, and closes every connection."""
    async with asyncio.TaskGroup() as handshakes:
        acceptor = Acceptor(connections, sockets, tls, handshakes)
        acceptor.attend()
        try:
            yield acceptor
        finally:
            try:
                await acceptor.close()
                await connections.close()
            finally:
                await connections.cut()


class Acceptor:
    """Lets connections in; a task takes each through its handshake, and no further.

    Servers of the event loops drop those that wait outside when they are closed. Here whoever has connected is still
    told that no work is taken any more. A connection that is closed with something unread in it is reset, and its
    caller would not know whether its message was taken (64 callers and a SIGTERM: up to 38 of them).
    """

    def __init__(
        self,
        connections: Connections,
        listeners: Sequence[socket.socket],
        tls: ServerTls | None,
        handshakes: asyncio.TaskGroup,
    ) -> None:
        self._connections = connections
        self._listeners = listeners
        self._tls = tls
        self._handshakes = handshakes
        self._loop = asyncio.get_running_loop()
        self._relief: asyncio.TimerHandle | None = None
        self._coming: dict[asyncio.Task[None], float] = {}
        """Those that are not in yet, such as in the middle of the handshake of TLS, and since when; in order."""
        self.fault = ""
        """Why nobody can come in, if that is so."""

    async def close(self) -> None:
        """Let in those who wait outside, and nobody after them; return when what they have sent has come in."""
        self._ignore()
        try:
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
        finally:
            for task in self._coming:
                task.cancel()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def attend(self) -> None:
        """Let in whoever comes from now on."""
        self.fault = ""
        for listener in self._listeners:
            listener.listen(BACKLOG)
            self._loop.add_reader(listener, self._accept, listener)

    def _ignore(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
        if self._relief is not None:
            self._relief.cancel()

    def _accept(self, listener: socket.socket) -> bool:
        """Accept some of those who wait; return whether there may be more."""
        for _ in range(ACCEPTED_AT_ONCE):
            count, most = len(self._connections.open) + len(self._coming), self._connections.most
            if count >= most + SURPLUS:
                self._wait_outside(f"there are {count} connections already (http.max_connections)")
                return False
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return False
            except ConnectionError:  # who came has left
                continue
            except OSError as error:  # the machine has no room for a connection, such as for its descriptor
                self._wait_outside(error.strerror)
                return False
            surplus = count >= most and not self._make_room()
            task = self._handshakes.create_task(self._welcome(connection, surplus=surplus), name="http handshake")
            self._coming[task] = self._loop.time()
            task.add_done_callback(partial(self._has_come, connection))
        return True

    def _has_come(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        del self._coming[task]
        if task.cancelled():  # perhaps before its first step, and then the connection is still ours
            connection.close()

    def _wait_outside(self, reason: str | None) -> None:
        self.fault = f"no connection can be accepted: {reason}"
        logger.error("no connection can be accepted, next try in %g s: %s", RELIEF, reason)
        self._ignore()
        self._relief = self._loop.call_later(RELIEF, self.attend)

    def _make_room(self) -> bool:
        """Have somebody leave who has had the time to send something and has not: in a handshake, or after it."""
        for task, since in self._coming.items():
            if self._loop.time() - since < LINGER:
                break
            if not task.cancelling() and task.cancel():
                return True
        return self._connections.make_room()

    async def _welcome(self, connection: socket.socket, *, surplus: bool) -> None:
        owner, tls = self._connections, self._tls
        connection.setblocking(False)  # noqa: FBT003 (the standard library's)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # noqa: FBT003 (likewise)
        try:
            await self._loop.connect_accepted_socket(
                lambda: HttpConnection(owner, surplus=surplus),
                connection,
                ssl=tls.context() if tls else None,
                ssl_handshake_timeout=owner.patience if tls else None,
                ssl_shutdown_timeout=LINGER if tls else None,
            )
        except (OSError, MemoryError) as error:  # of TLS, too
            reason = "timeout" if isinstance(error, ConnectionAbortedError) else "failed"
            owner.refusals.note_handshake(reason, error)
            connection.close()
