import sys
from pathlib import Path

import pytest

from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError
from invoker_process.runtime import ProcessRuntime, installed
from invoker_process.settings import ProcessSettings

PYTHON = f"python:{sys.version_info.major}.{sys.version_info.minor}"


def a_program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def real(program: str) -> str:
    return str(Path(program).resolve())


async def kinds_of(settings: ProcessSettings) -> Runtimes:
    return ProcessRuntime(settings, await installed(settings)).runtimes()


async def test_python_kinds_are_named_for_the_version_that_is_there() -> None:
    runtimes = await kinds_of(ProcessSettings())

    default = runtimes.resolve("python:default")
    assert default is not None
    assert default.kind == "python:3"
    assert runtimes.resolve(PYTHON) is not None
    assert runtimes.resolve("python:2") is None


async def test_the_python_of_actions_is_not_that_of_the_virtual_environment() -> None:
    interpreters = await installed(ProcessSettings())

    path, *options = interpreters["python"].command
    assert not Path(path).is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix
    assert options[:2] == ["-I", "-S"]
    assert options[-3:] == ["--fd", "3", "--watch-stdin"]


async def test_nodejs_kinds_are_named_for_the_version_that_is_there(node: str) -> None:
    runtimes = await kinds_of(ProcessSettings(nodejs=Path(node)))

    default = runtimes.resolve("nodejs:default")
    assert default is not None
    assert default.kind.removeprefix("nodejs:").isdigit()


async def test_a_version_managers_shim_is_replaced_by_what_it_starts(tmp_path: Path, node: str) -> None:
    shim = a_program(tmp_path / "node", f'exec {node} "$@"')

    interpreters = await installed(ProcessSettings(nodejs=shim))

    assert interpreters["nodejs"].command[0] == real(node)


async def test_without_nodejs_there_are_no_such_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    runtimes = await kinds_of(ProcessSettings())

    assert runtimes.resolve("nodejs:default") is None
    assert {runtime.kind for runtime in runtimes} == {"python:3", PYTHON}


async def test_a_broken_nodejs_that_nobody_named_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_program(tmp_path / "node", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert (await kinds_of(ProcessSettings())).resolve("nodejs:default") is None


@pytest.mark.parametrize("script", ["exit 1", "echo v20.1"])
async def test_a_named_nodejs_that_is_none_is_a_fault_of_the_settings(tmp_path: Path, script: str) -> None:
    named = a_program(tmp_path / "node", script)

    with pytest.raises(SettingsError, match=r"process\.nodejs: .*node doesn't tell its version"):
        await installed(ProcessSettings(nodejs=named))


async def test_a_named_python_that_is_absent_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"process\.python: .*can't be run: No such file"):
        await installed(ProcessSettings(python=tmp_path / "python"))
