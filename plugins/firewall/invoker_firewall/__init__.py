"""A firewall around actions: rules of this machine's packet filter about what their containers may reach."""

from collections.abc import Generator

from invoker import Settings, SettingsSection, hookimpl
from invoker.contracts import ContainerRuntime, Opening
from invoker_firewall.guard import guarded
from invoker_firewall.settings import SECTION


@hookimpl
def settings_section() -> SettingsSection:
    """Describe `[firewall]`."""
    return SECTION


@hookimpl(wrapper=True)
def open_container_runtime(
    settings: Settings,
) -> Generator[None, Opening[ContainerRuntime], Opening[ContainerRuntime]]:
    """Put rules in place between the opening of another plugin's runtime and its first container."""
    inner = yield
    return guarded(inner, settings)
