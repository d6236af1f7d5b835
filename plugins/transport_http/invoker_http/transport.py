"""The transport as a whole: two listeners, opened when it is safe to."""

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from invoker.config import LimitsSettings, NodeSettings, PoolSettings, RolesSettings, Settings, node_of
from invoker.contracts import Intake, MetricFamily, Operations, Part
from invoker.errors import SettingsError
from invoker.wire.acknowledgement import Acknowledger
from invoker_http.address import BindAddress, SocketAddress, bound, resolved
from invoker_http.connection import Connections
from invoker_http.listener import Acceptor, listening
from invoker_http.operators import serving_operators
from invoker_http.requests import Endpoint
from invoker_http.settings import HttpSettings
from invoker_http.tls import Credentials, server_context

logger = logging.getLogger("invoker.http")

_REFUSALS: Final = (400, 401, 404, 405, 408, 413, 431, 500, 503)
_STOPPING: Final = frozenset({"draining", "closed"})
"""What `Operations.faults` has when the invoker takes no new work any more."""


class HttpTransport(Part):
    """Where the listeners really are, and how they do."""

    def __init__(self, data_url: str, operators_url: str | None, connections: Connections, acceptor: Acceptor) -> None:
        self.url = data_url
        self.operators_url = operators_url
        self._connections = connections
        self._acceptor = acceptor

    def faults(self) -> Sequence[str]:
        """See `Part`."""
        return (f"http: {self._acceptor.fault}",) if self._acceptor.fault else ()

    def metrics(self) -> Sequence[MetricFamily]:
        """See `Part`."""
        connections, responses = len(self._connections.open), self._connections.responses
        refused = [({"status": str(status)}, float(responses[status])) for status in _REFUSALS]
        return (
            MetricFamily("gauge_http_connections", "gauge", "Connections to callers", [({}, connections)]),
            MetricFamily("counter_http_requests_refused", "counter", "Requests that were turned away", refused),
        )


@asynccontextmanager
async def opened(settings: Settings, intake: Intake, operations: Operations) -> AsyncIterator[HttpTransport]:
    """Listen. Leaving answers whoever has connected, and closes all connections; operators are answered until then.

    Raises:
        SettingsError: an address can't be used or isn't safe, or a file of TLS can't be read.
    """
    http = settings[HttpSettings]
    tls = server_context(http.tls)
    data = await resolved("http.bind", http.bind)
    operators = await resolved("http.admin", http.admin) if http.admin else ()
    if faults := exposure(http, data, operators):
        raise SettingsError(faults)
    endpoint = Endpoint(
        intake,
        lambda: not _STOPPING.isdisjoint(operations.faults()),
        limit=settings[LimitsSettings].message,
        credentials=Credentials.of(http),
    )
    node = node_of(settings[NodeSettings], settings[PoolSettings])
    acknowledger = Acknowledger(node, spelling=http.ack_identity, compat=settings[RolesSettings].compat)
    connections = Connections(endpoint, intake, acknowledger, http)
    async with AsyncExitStack() as stack:
        operators_url = None
        if operators:
            sockets = bound(stack, "http.admin", http.admin, operators)
            await stack.enter_async_context(serving_operators(operations, sockets))
            operators_url = _announced("operators", "http", http.admin, sockets)
        sockets = bound(stack, "http.bind", http.bind, data)
        acceptor = await stack.enter_async_context(listening(connections, sockets, tls))
        data_url = _announced("messages", "http" if tls is None else "https", http.bind, sockets)
        logger.info("try: invoker message hello --param name=Ada | curl --data-binary @- %s/invoke", data_url)
        if http.password is not None and tls is None and _reachable(data):
            logger.warning("callers send their password in the clear: set http.tls.certificate and http.tls.key")
        yield HttpTransport(data_url, operators_url, connections, acceptor)


def exposure(settings: HttpSettings, data: Sequence[SocketAddress], admin: Sequence[SocketAddress]) -> list[str]:
    """Return what makes the listeners unsafe; one that only this machine can reach is safe as it is.

    Whoever reaches the data listener can run code.
    """
    found: list[str] = []
    if settings.allow_anonymous:
        return found
    if _reachable(data) and settings.tls.client_ca is None and settings.password is None:
        found.append(
            f"http.bind: {settings.bind} can be reached from other machines, and whoever reaches it can run code. "
            "Set http.tls.client_ca, so that callers need a certificate, or http.username and http.password; or bind "
            "to 127.0.0.1. If the network itself is guarded, set http.allow_anonymous = true"
        )
    if _reachable(admin):
        found.append(
            f"http.admin: {settings.admin} can be reached from other machines, and it asks nobody who they are. "
            "Bind it to 127.0.0.1. If the network itself is guarded, set http.allow_anonymous = true: "
            "certificates and passwords that the settings ask for are still asked for"
        )
    return found


def _reachable(addresses: Sequence[SocketAddress]) -> bool:
    """Whether other machines can reach one of them."""
    return any(not address.is_loopback for address in addresses)


def _announced(whom: str, scheme: str, text: str, sockets: Sequence[socket.socket]) -> str:
    """Log where a listener can be reached, with the port that it really has; return the URL."""
    host, port, *_ = sockets[0].getsockname()
    url = f"{scheme}://{BindAddress(BindAddress.parse(text).host or host, port)}"
    logger.info("listening for %s on %s", whom, url, extra={"url": url})
    return url
