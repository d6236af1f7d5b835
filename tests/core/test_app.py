"""How the parts are put together."""

import json
from pathlib import Path

import pytest

from invoker.app import opened
from invoker.config import LogsSettings, NodeSettings, PoolSettings, RolesSettings, RuntimesSettings, Settings
from invoker.plugins import Plugins
from invoker_process.settings import ProcessSettings

KIND = {"kind": "python:3", "image": {"name": "python"}, "stemCells": [{"initialCount": 2, "memory": "128 MB"}]}


@pytest.mark.parametrize("ahead", [True, False])
async def test_stem_cells_are_for_those_whose_work_goes_on(tmp_path: Path, *, ahead: bool) -> None:
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

    async with opened(Plugins(roles, logs), settings, ahead=ahead) as parts:
        cells = parts.pool.view().stem_cells

    assert [(cell.kind, cell.wanted) for cell in cells] == ([("python:3", 2)] if ahead else [])
