"""How the parts are put together."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from invoker.app import Signals, _drain, kinds_of, opened
from invoker.config import (
    LimitsSettings,
    LogsSettings,
    NodeSettings,
    PoolSettings,
    RolesSettings,
    RuntimesSettings,
    Seconds,
    Settings,
    ShutdownSettings,
)
from invoker.entities.runtimes import Runtimes
from invoker.plugins import Plugins
from invoker.testing.containers import KINDS, FakeRuntime
from invoker_process.settings import ProcessSettings
from tests.core.simulation import clock, simulated

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


class Unending:
    """An invoker whose invocations run until they are broken off."""

    broken_off = 0

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.at = 0.0

    async def drain(self) -> None:
        await self.ended.wait()

    def break_off(self) -> None:
        self.at = clock()
        self.ended.set()

    async def close(self, patience: float) -> None:
        assert patience == ShutdownSettings().answers


@simulated
@pytest.mark.parametrize(("grace", "seconds"), [(None, 90), (Seconds(5), 5)])
async def test_what_runs_is_broken_off_when_the_longest_action_could_have_ended_or_the_grace_is_over(
    grace: Seconds | None, seconds: float
) -> None:
    busy, began = Unending(), clock()
    settings = Settings.of(LimitsSettings(max_timeout=90_000), ShutdownSettings(grace=grace))

    await _drain(SimpleNamespace(invoker=busy), settings, Signals())  # type: ignore[arg-type]

    assert busy.at - began == pytest.approx(seconds)
