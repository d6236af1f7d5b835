from collections.abc import Callable
from pathlib import Path

import pytest

from invoker import Settings
from invoker.contracts import ContainerRuntime, Opening
from invoker.entities.container import ContainerSpec
from invoker.testing.container_runtime import ContainerRuntimeContract
from invoker_process import open_container_runtime
from invoker_process.settings import ProcessSettings
from tests.plugins.runtime_process.actions import a_spec


class TestProcessRuntime(ContainerRuntimeContract):
    @pytest.fixture
    def opening(self, cgroup: str, tmp_path: Path) -> Callable[[], Opening[ContainerRuntime]]:
        settings = Settings.of(ProcessSettings(work_dir=tmp_path, cgroup="auto" if cgroup == "auto" else "off"))
        return lambda: open_container_runtime(settings)

    @pytest.fixture
    def spec(self) -> Callable[[str], ContainerSpec]:
        return a_spec

    @pytest.fixture
    def sharing(self, node: str) -> Callable[[str], ContainerSpec]:
        assert node
        environment = {"__OW_ALLOW_CONCURRENT": "true"}
        return lambda name: a_spec(name, "nodejs:20", environment=environment)
