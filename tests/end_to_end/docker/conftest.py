"""The engine, the images, and a place for each module or test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.docker.place import DockerHome, kinds_of
from tests.services.docker import docker  # noqa: F401 (pytest finds it here)
from tests.services.images import Images, docker_images  # noqa: F401 (pytest finds it here)

MakeHome = Callable[..., DockerHome]


@pytest.fixture(scope="module")
def home(docker: str, docker_images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHome]:  # noqa: F811 (the fixtures)
    """The place that all tests of a module share; nothing on the engine outlives it."""
    home = DockerHome(tmp_path_factory.mktemp("home"), docker, kinds_of(docker_images))
    yield home
    assert home.engine.containers() == {}


@pytest.fixture
def own_home(docker: str, docker_images: Images, tmp_path: Path) -> Iterator[DockerHome]:  # noqa: F811 (the fixtures)
    """A place for one test; nothing on the engine outlives it."""
    home = DockerHome(tmp_path, docker, kinds_of(docker_images))
    yield home
    assert home.engine.containers() == {}
