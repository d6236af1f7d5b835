"""The engines, and an image that every one of them can have: no registry is needed for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)
from tests.plugins.runtime_docker.places import Place, a_place, without_network
from tests.plugins.runtime_docker.tiny_image import imported
from tests.services.docker import docker, engine, podman  # noqa: F401 (pytest finds them here)
from tests.services.images import Images, docker_images, images  # noqa: F401 (pytest finds them here)


@pytest.fixture(scope="session")
def docker_url(docker: str) -> str:  # noqa: F811 (the fixture)
    """Address of a Docker engine."""
    return docker


@pytest.fixture(scope="session")
def engine_url(engine: str) -> str:  # noqa: F811 (the fixture)
    """Address of a Docker engine, and of podman's service."""
    return engine


@pytest.fixture(scope="session")
def image(engine_url: str, absent: Callable[[str], None]) -> Iterator[str]:
    """An image on that engine with nothing but a shell, that sleeps."""
    with imported(engine_url, absent) as name:
        yield name


@pytest.fixture(scope="session")
def network_on(engine: str) -> Iterator[str]:  # noqa: F811 (the fixture)
    """Address of an engine that loses the tests' network in the end."""
    yield engine
    without_network(engine)


@pytest.fixture
def place(network_on: str, images: Images, tmp_path: Path, request: pytest.FixtureRequest) -> Place:  # noqa: F811 (the fixture)
    """Each engine, with an invoker of the test's own and the image of Python actions."""
    podman = request.node.callspec.params["engine"] == "podman"  # noqa: F811 (a word)
    return a_place(network_on, images.python, tmp_path, podman=podman)


@pytest.fixture
def docker_place(docker: str, docker_images: Images, tmp_path: Path) -> Place:  # noqa: F811 (the fixtures)
    """The same on a Docker engine only, for what doesn't depend on whose engine it is."""
    return a_place(docker, docker_images.python, tmp_path, podman=False)
