"""The engines, the images, and a network for the containers that are made of them."""

import uuid
from collections.abc import Iterator

import pytest

from tests.services.containers import Place
from tests.services.docker import docker, engine, podman  # noqa: F401 (pytest finds them here)
from tests.services.images import docker_images, images, podman_images, run  # noqa: F401


@pytest.fixture(scope="session")
def place(engine: str) -> Iterator[Place]:  # noqa: F811 (pytest knows which)
    """A network on each engine."""
    name = f"image-test-{uuid.uuid4().hex[:12]}"
    created = run(engine, "network", "create", name)
    assert created.returncode == 0, created.stderr
    yield Place(engine, name)
    run(engine, "network", "rm", name)
