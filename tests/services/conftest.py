"""The engines and the images, for their own tests."""

from tests.services.docker import docker, engine, podman  # noqa: F401 (pytest finds them here)
from tests.services.images import docker_images, images, podman_images  # noqa: F401
