"""Child processes as containers: nothing to install, nothing that isolates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invoker import Settings, SettingsSection, hookimpl
from invoker.contracts import ContainerRuntime
from invoker_process.runtime import process_runtime
from invoker_process.settings import SECTION


@hookimpl
def settings_section() -> SettingsSection:
    """Describe `[process]`."""
    return SECTION


@hookimpl
@asynccontextmanager
async def open_container_runtime(settings: Settings) -> AsyncIterator[ContainerRuntime]:
    """Provide what starts containers that are child processes."""
    async with process_runtime(settings) as runtime:
        yield runtime
