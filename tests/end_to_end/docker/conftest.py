"""The engine, the images, and a place for each module or test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.docker.engine import Engine
from tests.end_to_end.docker.odd_images import odd_images
from tests.end_to_end.docker.place import NETWORK, DockerHome
from tests.services.docker import docker  # noqa: F401 (pytest finds it here)
from tests.services.images import Images, docker_images  # noqa: F401 (pytest finds it here)


@pytest.fixture(scope="session")
def engine_url(docker: str) -> Iterator[str]:  # noqa: F811 (the fixture)
    """The engine, which in the end loses the network that outlives all invokers here, unless somebody else uses it."""
    yield docker
    Engine(docker, "").asked("DELETE", f"/networks/{NETWORK}")


@pytest.fixture(scope="module")
def home(engine_url: str, docker_images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHome]:  # noqa: F811 (the fixture)
    """The place that all tests of a module share; nothing on the engine outlives it."""
    home = DockerHome(tmp_path_factory.mktemp("home"), engine_url, docker_images)
    yield home
    assert home.engine.containers() == {}


@pytest.fixture
def own_home(engine_url: str, docker_images: Images, tmp_path: Path) -> Iterator[DockerHome]:  # noqa: F811 (the fixture)
    """A place for one test; nothing on the engine outlives it."""
    home = DockerHome(tmp_path, engine_url, docker_images)
    yield home
    assert home.engine.containers() == {}


@pytest.fixture(scope="session")
def odd(docker: str, docker_images: Images) -> dict[str, str]:  # noqa: F811 (the fixtures)
    """Images of proxies that misbehave, by their names."""
    return odd_images(docker, docker_images.python)
