"""Child processes as containers: nothing to install, nothing that isolates."""

from invoker import Settings, SettingsSection, hookimpl
from invoker.contracts import ContainerRuntime, Opening
from invoker_process.runtime import process_runtime
from invoker_process.settings import SECTION


@hookimpl
def settings_section() -> SettingsSection:
    """Describe `[process]`."""
    return SECTION


@hookimpl
def open_container_runtime(settings: Settings) -> Opening[ContainerRuntime]:
    """Provide what starts containers that are child processes."""
    return process_runtime(settings)
