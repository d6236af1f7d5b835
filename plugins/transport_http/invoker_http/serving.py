"""The transport as a whole: two listeners, opened when it is safe to."""

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from invoker.config import LimitsSettings, NodeSettings, PoolSettings, RolesSettings, Settings, node_of
from invoker.contracts import Intake, Operations
from invoker.errors import SettingsError
from invoker.wire.acknowledgement import Acknowledger
from invoker_http import admin, exposure, listener, server
from invoker_http.address import Address, Place, bound, close_all, resolved, url
from invoker_http.credentials import Credentials
from invoker_http.door import Door
from invoker_http.settings import HttpSettings
from invoker_http.tls import server_context

logger = logging.getLogger("invoker.http")


class Addresses(msgspec.Struct, frozen=True):
    """Where the listeners really are, as URLs."""

    data: str
    admin: str | None

    @property
    def operators(self) -> str | None:
        """See `OperatorDoor`."""
        return self.admin


@asynccontextmanager
async def serving(settings: Settings, intake: Intake, operations: Operations) -> AsyncIterator[Addresses]:
    """Listen. Leaving takes no new message and returns when all that were taken have been answered.

    Operators are answered until the very end. Cancelled while it leaves, it breaks off what runs, and those answers
    are given too.

    Raises:
        SettingsError: an address can't be used or isn't safe, or a file of TLS can't be read.
    """
    http = settings[HttpSettings]
    tls = server_context(http.tls)
    data, operators = await _places(http)
    door = _door(settings, intake)
    async with AsyncExitStack() as stack:
        admin_url = None
        if operators:
            sockets = _bound(stack, "http.admin", http.admin, operators)
            await stack.enter_async_context(admin.listening(operations, sockets, lambda: door.closed))
            admin_url = _announced("operators", "http", http.admin, sockets)
        sockets = _bound(stack, "http.bind", http.bind, data)
        listening = server.listening if http.listener == "aiohttp" else listener.listening
        await stack.enter_async_context(listening(door, http, sockets, tls))
        data_url = _announced("messages", "http" if tls is None else "https", http.bind, sockets)
        logger.info("try: invoker message hello --param name=Ada | curl --data-binary @- %s/invoke", data_url)
        if exposure.sends_passwords_in_the_clear(http, data):
            logger.warning("callers send their password in the clear: set http.tls.certificate and http.tls.key")
        yield Addresses(data_url, admin_url)


async def _places(http: HttpSettings) -> tuple[Sequence[Place], Sequence[Place]]:
    """Return where to listen for messages and for operators.

    Raises:
        SettingsError: has every fault of both.
    """
    data = await resolved("http.bind", Address.parse(http.bind))
    operators = await resolved("http.admin", Address.parse(http.admin)) if http.admin else ()
    faults = exposure.faults(http, data, operators)
    if faults:
        raise SettingsError(faults)
    return data, operators


def _door(settings: Settings, intake: Intake) -> Door:
    http = settings[HttpSettings]
    node = node_of(settings[NodeSettings], settings[PoolSettings])
    acknowledger = Acknowledger(node, spelling=http.ack_identity, compat=settings[RolesSettings].compat)
    return Door(intake, acknowledger, limit=settings[LimitsSettings].message, credentials=Credentials.of(http))


def _bound(stack: AsyncExitStack, setting: str, address: str, places: Sequence[Place]) -> list[socket.socket]:
    sockets = bound(setting, Address.parse(address), places)
    stack.callback(close_all, sockets)  # for the way on which nobody else comes to own them
    return sockets


def _announced(whom: str, scheme: str, address: str, sockets: Sequence[socket.socket]) -> str:
    where = url(scheme, Address.parse(address), sockets)
    logger.info("listening for %s on %s", whom, where, extra={"url": where})
    return where
