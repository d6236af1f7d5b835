"""How the parts are put together."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from invoker.app import kinds_of, opened
from invoker.config import LogsSettings, NodeSettings, PoolSettings, RolesSettings, RuntimesSettings, Settings
from invoker.entities.runtimes import Runtimes
from invoker.plugins import Plugins
from invoker.testing.containers import KINDS, FakeRuntime
from invoker_process.settings import ProcessSettings

KIND = {"kind": "python:3", "image": {"name": "python"}, "stemCells": [{"initialCount": 2, "memory": "128 MB"}]}


@pytest.mark.parametrize("lasting", [True, False])
async def test_prewarmed_containers_are_for_those_whose_work_goes_on(tmp_path: Path, *, lasting: bool) -> None:
    manifest = tmp_path / "kinds.json"
    manifest.write_text(json.dumps({"runtimes": {"python": [KIND]}}))
    roles, logs = RolesSettings(), LogsSettings()
    settings = Settings.of(
        roles,
        logs,
        NodeSettings(state_dir=tmp_path / "state"),
        RuntimesSettings(manifest=manifest),
        ProcessSettings(work_dir=tmp_path),
        PoolSettings(),
    )

    async with opened(Plugins(roles, logs), settings, lasting=lasting) as core:
        prewarmed = core.pool.snapshot().prewarmed

    assert [(kind.kind, kind.wanted) for kind in prewarmed] == ([("python:3", 2)] if lasting else [])


class Shop(FakeRuntime):
    """Lacks everything that it is asked for."""

    async def lacking(self, kinds: Runtimes) -> Sequence[str]:
        """See `ContainerRuntime`."""
        return [f"no {one.kind} today: 100 % sold" for one in kinds]


async def test_what_the_runtime_lacks_for_the_manifest_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = tmp_path / "kinds.json"
    manifest.write_text(json.dumps({"runtimes": {"python": [KIND]}}))
    runtime = Shop()

    kinds = await kinds_of(Settings.of(RuntimesSettings(manifest=manifest)), runtime)
    own = await kinds_of(Settings.of(RuntimesSettings()), runtime)

    assert [one.kind for one in kinds] == ["python:3"]
    assert list(own) == list(KINDS)
    assert caplog.messages == ["no python:3 today: 100 % sold"]
