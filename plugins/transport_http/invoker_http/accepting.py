"""What the data listeners have in common: how they open, and in which order they close."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from invoker_http.door import Door

BACKLOG: Final = 1024
"""Connections that may wait to be accepted: a controller opens many at once."""
HANDSHAKE: Final = 10.0
"""Seconds for a caller's TLS handshake."""
FLUSH: Final = 5.0
"""Seconds that callers have to take their last answers when the listener closes."""
LINGER: Final = 1.0
"""Seconds for which input is still read after a refusal: closing sooner would reset the connection, and a caller in
the middle of sending would never see the reply. Also those for the end of TLS."""


class Connections(Protocol):
    """All connections of a listener."""

    def accept(self) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        ...

    async def close(self) -> None:
        """Close all connections; those whose callers don't take their answers in time are cut."""
        ...


@asynccontextmanager
async def accepting(
    door: Door, connections: Connections, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Accept connections on bound sockets; leaving accepts none, shuts the door, and then closes those there are.

    Between the two, connections that are kept are still answered: that no work is taken here any more.
    """
    loop = asyncio.get_running_loop()
    handshake, shutdown = (HANDSHAKE, LINGER) if tls is not None else (None, None)
    servers: list[asyncio.Server] = []
    try:
        for one in sockets:
            server = await loop.create_server(
                connections.accept,
                sock=one,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=shutdown,
            )
            servers.append(server)
        yield
    finally:
        for server in servers:
            server.close()
        try:
            await door.shut()
        finally:
            await connections.close()
