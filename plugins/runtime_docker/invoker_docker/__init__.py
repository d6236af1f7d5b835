"""Containers of a Docker engine, or of podman's Docker-compatible service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invoker import Settings, SettingsSection, hookimpl
from invoker.contracts import ContainerRuntime
from invoker_docker.settings import SECTION


@hookimpl
def settings_section() -> SettingsSection:
    """Describe `[docker]`."""
    return SECTION


@hookimpl
@asynccontextmanager
async def open_container_runtime(settings: Settings) -> AsyncIterator[ContainerRuntime]:
    """Provide what starts containers on an engine."""
    from invoker_docker.runtime import docker_runtime  # noqa: PLC0415 (aiodocker is an extra: it loads when it is used)

    async with docker_runtime(settings) as runtime:
        yield runtime
