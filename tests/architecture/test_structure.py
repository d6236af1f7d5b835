"""The shape of the code: layers, sizes, and the map that leads through it."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import invoker.testing
from invoker import hookspecs

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 400
LONGEST_FUNCTION = 50


def sources() -> Iterator[Path]:
    """All modules of ours; an action proxy is one file on purpose, so that it can be copied into an image."""
    for folder in ("core", "plugins", "bench"):
        yield from (path for path in (ROOT / folder).rglob("*.py") if path.parent.name != "proxies")


def hooks() -> list[str]:
    return [name for name, value in vars(hookspecs).items() if hasattr(value, "invoker_spec")]


def test_the_layers_have_no_circle() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]

    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout


def test_no_file_is_too_long_to_be_read() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in sources()}

    long = {str(path): length for path, length in lengths.items() if length > LONGEST_FILE}

    assert long == {}


def test_no_function_is_too_long_to_be_read() -> None:
    long = []

    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({length} lines)")

    assert long == []


def test_there_are_hooks_to_check() -> None:
    assert len(hooks()) >= 9


@pytest.mark.parametrize("hook", hooks())
def test_every_hook_is_on_the_map(hook: str) -> None:
    signature = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)

    assert f"`{hook}({signature})`" in (ROOT / "core" / "README.md").read_text()


@pytest.mark.parametrize("hook", [name for name in hooks() if name.startswith("open_") and name != "open_client"])
def test_every_open_hook_has_a_contract_suite(hook: str) -> None:
    module = Path(invoker.testing.__file__).parent / f"{hook.removeprefix('open_')}.py"

    assert re.search(r"^class \w+Contract\b", module.read_text(), re.MULTILINE)


def test_a_name_stands_for_one_thing() -> None:
    owners: dict[str, list[str]] = {}

    for path in sources():
        if path.is_relative_to(ROOT / "bench"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners.setdefault(node.name, []).append(str(path.relative_to(ROOT)))

    assert {name: places for name, places in owners.items() if len(places) > 1} == {}


def test_every_package_is_typed_for_its_users() -> None:
    packages = [ROOT / "core" / "invoker", *(ROOT / "plugins").glob("*/invoker_*")]

    assert [str(package) for package in packages if not (package / "py.typed").exists()] == []


def test_every_plugin_explains_itself() -> None:
    plugins = [folder for folder in (ROOT / "plugins").iterdir() if folder.is_dir()]

    assert [str(plugin) for plugin in plugins if not (plugin / "README.md").exists()] == []
