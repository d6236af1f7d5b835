"""The transport as a whole: two listeners, opened when it is safe to."""

import asyncio
import logging
import resource
import socket
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from invoker.config import LimitsSettings, NodeSettings, PoolSettings, RolesSettings, Settings, node_of
from invoker.contracts import Intake, MetricFamily, Operations, Part
from invoker.errors import SettingsError
from invoker.wire.acknowledgement import Acknowledger
from invoker_http.address import BindAddress, SocketAddress, bound, reachable, resolved
from invoker_http.connection import Connections
from invoker_http.endpoints import MessageEndpoint, OperatorsEndpoint
from invoker_http.listener import Acceptor, listening
from invoker_http.responses import Refusals
from invoker_http.settings import HttpSettings
from invoker_http.tls import Credentials, ServerTls

logger = logging.getLogger("invoker.http")

_MOST: Final = 10_000  # connections: 100 MB
_OPERATORS: Final = 64  # connections: of scrapers, probes, and a few people


@dataclass
class HttpTransport(Part):
    """Where the listeners really are, and how they do."""

    url: str
    operators_url: str | None
    connections: Connections
    acceptors: Sequence[Acceptor]

    def faults(self) -> Sequence[str]:
        """See `Part`."""
        return tuple(f"http: {one.fault}" for one in self.acceptors if one.fault)

    def metrics(self) -> Sequence[MetricFamily]:
        """See `Part`."""
        connections, refusals = len(self.connections.open), self.connections.refusals
        requests = [({"status": str(key[0]), "reason": key[1]}, count) for key, count in refusals.requests.items()]
        handshakes = [({"reason": reason}, count) for reason, count in refusals.handshakes.items()]
        return (
            MetricFamily("gauge_http_connections", "gauge", "Connections to callers", [({}, connections)]),
            MetricFamily("counter_http_requests_refused", "counter", "Requests that were turned away", requests),
            MetricFamily("counter_http_handshakes_failed", "counter", "TLS handshakes without success", handshakes),
        )


@asynccontextmanager
async def opened(settings: Settings, intake: Intake, operations: Operations) -> AsyncIterator[HttpTransport]:
    """Listen. Leaving answers whoever has connected, and closes all connections; operators are answered until then.

    Raises:
        SettingsError: an address can't be used or isn't safe, or a file of TLS can't be read.
    """
    http = settings[HttpSettings]
    tls = None if http.tls.certificate is None else ServerTls(http.tls)
    data = await resolved("http.bind", http.bind)
    operators = await resolved("http.admin", http.admin) if http.admin else ()
    if faults := exposure(http, data, operators):
        raise SettingsError(faults)
    messages = MessageEndpoint(
        intake,
        operations.draining,
        limit=settings[LimitsSettings].message,
        credentials=None if http.password is None else Credentials(http.username or "", http.password.reveal()),
        hosts=names_of(http, http.bind, data),
    )
    node = node_of(settings[NodeSettings], settings[PoolSettings])
    acknowledger = Acknowledger(node, spelling=http.ack_identity, compat=settings[RolesSettings].compat)
    refusals = Refusals(asyncio.get_running_loop().time)
    serving = partial(Connections, intake=intake, acknowledger=acknowledger, settings=http, refusals=refusals)
    async with AsyncExitStack() as stack:
        operators_url, acceptors = None, []
        admin_sockets = bound(stack, "http.admin", http.admin, operators) if operators else ()
        sockets = bound(stack, "http.bind", http.bind, data)  # before a task group wraps what is raised
        if admin_sockets:
            pages = OperatorsEndpoint(operations, names_of(http, http.admin, operators))
            entering = listening(serving(pages, most=_OPERATORS), admin_sockets, None)
            acceptors.append(await stack.enter_async_context(entering))
            operators_url = _announced("operators", "http", http.admin, admin_sockets)
        connections = serving(messages, most=http.max_connections or most_connections())
        acceptors.append(await stack.enter_async_context(listening(connections, sockets, tls)))
        data_url = _announced("messages", "http" if tls is None else "https", http.bind, sockets)
        logger.info("try: invoker message hello --param name=Ada | curl --data-binary @- %s/invoke", data_url)
        if http.password is not None and tls is None and reachable(data):
            logger.warning("callers send their password in the clear: set http.tls.certificate and http.tls.key")
        yield HttpTransport(data_url, operators_url, connections, acceptors)


def most_connections() -> int:
    """Return for how many callers there is room: half of the descriptors are for containers, stores and logs."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if files == resource.RLIM_INFINITY else max(1, min(_MOST, files // 2))


def names_of(settings: HttpSettings, address: str, addresses: Sequence[SocketAddress]) -> Collection[str] | None:
    """Return the names by which a listener may be asked for; `None`, by any, if other machines can reach it.

    A page in a browser reaches loopback by a name of its own that its server has pointed there.
    """
    return None if reachable(addresses) else (BindAddress.parse(address).host, *settings.hosts)


def exposure(settings: HttpSettings, data: Sequence[SocketAddress], admin: Sequence[SocketAddress]) -> list[str]:
    """Return what makes the listeners unsafe: who reaches the first can run code, and the other asks nobody."""
    found: list[str] = []
    protected = settings.tls.client_ca is not None or settings.password is not None or settings.allow_anonymous
    if reachable(data) and not protected:
        found.append(
            f"http.bind: {settings.bind} can be reached from other machines, and whoever reaches it can run code. "
            "Set http.tls.client_ca, so that callers need a certificate, or http.username and http.password; or bind "
            "to 127.0.0.1. If the network itself is guarded, set http.allow_anonymous = true"
        )
    if reachable(admin) and not settings.allow_anonymous_admin:
        found.append(
            f"http.admin: {settings.admin} can be reached from other machines, and it asks nobody who they are. "
            "Bind it to 127.0.0.1. If the network itself is guarded, set http.allow_anonymous_admin = true"
        )
    return found


def _announced(whom: str, scheme: str, text: str, sockets: Sequence[socket.socket]) -> str:
    """Log where a listener can be reached, with the port that it really has; return the URL."""
    host, port, *_ = sockets[0].getsockname()
    url = f"{scheme}://{BindAddress(BindAddress.parse(text).host or host, port)}"
    logger.info("listening for %s on %s", whom, url, extra={"url": url})
    return url
