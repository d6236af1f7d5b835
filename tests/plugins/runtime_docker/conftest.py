"""The engines, and an image that every one of them can have: no registry is needed for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)
from tests.plugins.runtime_docker.invoker_place import InvokerPlace, a_place, without_network
from tests.plugins.runtime_docker.tiny_image import imported, layer
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
def tiny_layer(absent: Callable[[str], None]) -> bytes:
    """The file system of that image, for a registry of the test's own."""
    return layer(absent)


@pytest.fixture(scope="session")
def engines_used() -> Iterator[set[str]]:
    """Addresses of engines that lose this run's network in the end."""
    urls: set[str] = set()
    yield urls
    for url in urls:
        without_network(url)


@pytest.fixture
def place(
    engine: str,  # noqa: F811 (the fixture)
    images: Images,  # noqa: F811 (the fixture)
    engines_used: set[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> InvokerPlace:
    """Each engine, with an invoker of the test's own and the image of Python actions."""
    engines_used.add(engine)
    return a_place(engine, images.python, tmp_path, podman=request.node.callspec.params["engine"] == "podman")


@pytest.fixture
def docker_place(docker: str, docker_images: Images, engines_used: set[str], tmp_path: Path) -> InvokerPlace:  # noqa: F811 (the fixtures)
    """The same on a Docker engine only, for what doesn't depend on whose engine it is."""
    engines_used.add(docker)
    return a_place(docker, docker_images.python, tmp_path, podman=False)
