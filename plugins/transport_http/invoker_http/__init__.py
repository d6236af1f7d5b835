"""HTTP: activation messages in a request's body, their acknowledgement in the response's; health and metrics beside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invoker import Settings, SettingsSection, hookimpl
from invoker.contracts import Intake, Operations, Part
from invoker_http.settings import SECTION


@hookimpl
def settings_section() -> SettingsSection:
    """Describe `[http]`."""
    return SECTION


@hookimpl
@asynccontextmanager
async def open_transport(settings: Settings, intake: Intake, operations: Operations) -> AsyncIterator[Part]:
    """Listen for activation messages, and for operators."""
    from invoker_http.transport import opened  # noqa: PLC0415 (the server loads only when used)

    async with opened(settings, intake, operations) as transport:
        yield transport
