from collections.abc import Awaitable, Callable, Collection

import msgspec
import pytest

from invoker.contracts import ContainerRuntime, Opening
from invoker.entities.container import ContainerSpec
from invoker.testing.container_runtime import ContainerRuntimeContract
from invoker_docker import open_container_runtime
from tests.plugins.runtime_docker.invoker_place import InvokerPlace
from tests.services.images import Images


class TestDockerRuntime(ContainerRuntimeContract):
    """On a Docker engine and on podman, on both event loops."""

    @pytest.fixture
    def opening(self, place: InvokerPlace) -> Callable[[], Opening[ContainerRuntime]]:
        return lambda: open_container_runtime(place.settings)

    @pytest.fixture
    def spec(self, place: InvokerPlace) -> Callable[[str], ContainerSpec]:
        return lambda name: place.spec(f"{name}-{place.node.unique_name}")

    @pytest.fixture
    def sharing(self, place: InvokerPlace, images: Images) -> Callable[[str], ContainerSpec]:
        kind = {"kind": "nodejs:18", "family": "nodejs", "image": images.nodejs}
        environment = {"__OW_ALLOW_CONCURRENT": "true"}
        return lambda name: msgspec.structs.replace(
            place.spec(f"{name}-{place.node.unique_name}", **kind), environment=environment
        )

    @pytest.fixture
    def pauses(self) -> bool:
        return True

    @pytest.fixture
    def left(self, place: InvokerPlace) -> Callable[[], Awaitable[Collection[object]]]:
        return place.left()
