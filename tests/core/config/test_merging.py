"""Dynaconf, where it is allowed."""

import re
import subprocess
import sys
from pathlib import Path

import invoker
from invoker.config.layer import Given, unwrapped, wrapped
from invoker.config.merging import merged

CORE = Path(invoker.__file__).parent


def test_only_one_module_of_the_core_knows_dynaconf() -> None:
    importing = re.compile(r"^\s*(?:from|import) dynaconf", re.MULTILINE)

    found = [file.name for file in CORE.rglob("*.py") if importing.search(file.read_text(encoding="utf-8"))]

    assert found == ["merging.py"]


def test_the_last_tree_lies_on_top() -> None:
    first = wrapped({"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"z": 1}})
    second = wrapped({"a": {"y": [3], "X": 2}, "b": {"now": "a table"}, "c": "now a value"})

    tree = merged([first, second])

    assert unwrapped(tree) == {
        "a": {"x": 1, "y": [3], "X": 2},
        "b": {"now": "a table"},
        "c": "now a value",
    }


def test_merging_leaves_the_trees_as_they_are() -> None:
    first = wrapped({"a": {"x": 1}})
    second = wrapped({"a": {"y": 2}})

    merged([first, second])

    assert (unwrapped(first), unwrapped(second)) == ({"a": {"x": 1}}, {"a": {"y": 2}})


def test_nothing_merged_is_nothing() -> None:
    assert merged([]) == {}
    assert merged([{}, {}]) == {}


def test_values_are_not_looked_into() -> None:
    class Untouchable:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        def __bool__(self) -> bool:
            raise AssertionError("judged")

        __hash__ = None  # type: ignore[assignment]

    value = Untouchable()

    tree = merged([{"a": Given(Untouchable())}, {"a": Given(value)}])

    assert tree["a"].value is value


def test_variables_of_dynaconf_change_nothing() -> None:
    program = (
        "from invoker.config.layers import Layers\n"
        "read = Layers.read([], environ={}, overrides=['telemetry.level=debug'])\n"
        "print(sorted((line.key, line.value) for line in read.explain() if line.origin != 'default'))\n"
    )
    variables = {
        "AUTO_CAST_FOR_DYNACONF": "true",
        "ENVIRONMENTS_FOR_DYNACONF": "true",
        "ENV_FOR_DYNACONF": "production",
        "LOADERS_FOR_DYNACONF": '["no.such.module"]',
        "SETTINGS_FILE_FOR_DYNACONF": "/no/such/file.toml",
        "DOTTED_LOOKUP_FOR_DYNACONF": "false",
        "MERGE_ENABLED_FOR_DYNACONF": "true",
        "NESTED_SEPARATOR_FOR_DYNACONF": "k",
    }

    ran = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.stderr) == ("[('telemetry.level', 'debug')]\n", "")
