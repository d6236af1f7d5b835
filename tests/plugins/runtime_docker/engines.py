"""What tests of real engines share."""

import uuid
from typing import Any

from invoker_docker.settings import DockerSettings

FILES = {"Name": "nofile", "Soft": 1024, "Hard": 1024}
PROCESSES = {"Name": "nproc", "Soft": 4096, "Hard": 4096}
"""podman sets both limits to the kernel's greatest if it isn't told, which not every machine's root may."""
ALONE: dict[str, Any] = {"HostConfig": {"NetworkMode": "none", "Ulimits": [FILES, PROCESSES]}}
"""How containers are started that are only here to live."""


def settings_for(url: str, **more: Any) -> DockerSettings:
    """Return settings for an engine that others use as well: nothing of theirs is touched."""
    return DockerSettings(**{"url": url} | more)


def a_name() -> str:
    """Return a name that nobody else has."""
    return f"invoker-tests-{uuid.uuid4().hex[:12]}"
