"""What tests of real engines share."""

import uuid
from typing import Any

from invoker_docker.settings import DockerSettings

LIMITS: dict[str, Any] = {
    "HostConfig": {
        "Ulimits": [
            {"Name": "nofile", "Soft": 1024, "Hard": 1024},
            {"Name": "nproc", "Soft": 4096, "Hard": 4096},
        ]
    }
}
"""podman sets the number of processes to the kernel's greatest if it isn't told, which not every machine's root may."""


def settings_for(url: str, **more: Any) -> DockerSettings:
    """Return settings for an engine that others use as well: nothing of theirs is touched."""
    return DockerSettings(**{"url": url, "network": "bridge", "extra": LIMITS} | more)


def a_name() -> str:
    """Return a name that nobody else has."""
    return f"invoker-tests-{uuid.uuid4().hex[:12]}"
