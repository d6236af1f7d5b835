import sys
from pathlib import Path

import pytest

from invoker.entities.runtimes import Runtime
from invoker.errors import SettingsError, StartFailed
from invoker_process.interpreters import installed
from invoker_process.settings import ProcessSettings

PYTHON = f"python:{sys.version_info.major}.{sys.version_info.minor}"


def a_program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def real(program: str) -> str:
    return str(Path(program).resolve())


async def test_python_kinds_are_named_for_the_version_that_is_there() -> None:
    interpreters = await installed(ProcessSettings())

    runtimes = interpreters.runtimes()
    default = runtimes.resolve("python:default")
    assert default is not None
    assert default.kind == "python:3"
    assert runtimes.resolve(PYTHON) is not None
    assert runtimes.resolve("python:2") is None


async def test_the_python_of_actions_is_not_that_of_the_virtual_environment() -> None:
    interpreters = await installed(ProcessSettings())

    path, *options = interpreters.command(Runtime(kind="python:3", family="python"))
    assert not Path(path).is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix
    assert options[:2] == ["-I", "-S"]
    assert options[-3:] == ["--fd", "3", "--watch-stdin"]


async def test_nodejs_kinds_are_named_for_the_version_that_is_there(node: str) -> None:
    interpreters = await installed(ProcessSettings(nodejs=Path(node)))

    default = interpreters.runtimes().resolve("nodejs:default")
    assert default is not None
    assert default.kind.removeprefix("nodejs:").isdigit()


async def test_a_version_managers_shim_is_replaced_by_what_it_starts(tmp_path: Path, node: str) -> None:
    shim = a_program(tmp_path / "node", f'exec {node} "$@"')

    interpreters = await installed(ProcessSettings(nodejs=shim))

    assert interpreters.command(Runtime(kind="nodejs:20", family="nodejs"))[0] == real(node)


async def test_without_nodejs_there_are_no_such_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    interpreters = await installed(ProcessSettings())

    assert interpreters.runtimes().resolve("nodejs:default") is None
    with pytest.raises(StartFailed, match=r"'nodejs:20'; it runs python:3, python:3\.\d+$"):
        interpreters.command(Runtime(kind="nodejs:20", family="nodejs"))


async def test_a_broken_nodejs_that_nobody_named_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_program(tmp_path / "node", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))

    interpreters = await installed(ProcessSettings())

    assert interpreters.runtimes().resolve("nodejs:default") is None


@pytest.mark.parametrize("script", ["exit 1", "echo v20.1"])
async def test_a_named_nodejs_that_is_none_is_a_fault_of_the_settings(tmp_path: Path, script: str) -> None:
    named = a_program(tmp_path / "node", script)

    with pytest.raises(SettingsError, match=r"process\.nodejs: .*node doesn't tell its version"):
        await installed(ProcessSettings(nodejs=named))


async def test_a_named_python_that_is_absent_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"process\.python: .*can't be run: No such file"):
        await installed(ProcessSettings(python=tmp_path / "python"))


async def test_actions_find_the_interpreters_first_on_their_path(node: str) -> None:
    interpreters = await installed(ProcessSettings(nodejs=Path(node)))

    path = interpreters.search_path.split(":")

    python = interpreters.command(Runtime(kind="python:3", family="python"))[0]
    assert path[0] == str(Path(python).parent)
    assert str(Path(real(node)).parent) in path
    assert len(path) == len(set(path))
