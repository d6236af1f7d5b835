"""Dynaconf: what it does for the settings, and what it is kept from doing."""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import invoker
from invoker.config import NodeSettings, Section, SettingsSection
from invoker.config.kinds import toml
from tests.core.config.shop import ShopSettings, faults, layers, shop
from tests.core.config.shop import settings as settings_of

Write = Callable[..., Path]

CORE = Path(invoker.__file__).parent


class FreeSettings(Section, frozen=True, kw_only=True):
    """A table of anything."""

    table: dict[str, Any] = {}  # noqa: RUF012 (msgspec copies it)


FREE = SettingsSection(name="free", into=FreeSettings)

NAMES = st.sampled_from(["a", "A", "b", "a b", "a_b", "a.b", "dynaconf_merge", "a__b", "é"])
LEAVES = st.one_of(st.integers(-3, 3), st.sampled_from(["", "@int 1", "dynaconf_merge", "b"]), st.booleans())
LISTS = st.lists(st.one_of(LEAVES, st.just("dynaconf_merge_unique")), max_size=3)
TABLES = st.recursive(
    st.dictionaries(NAMES, st.one_of(LEAVES, LISTS), max_size=3),
    lambda tables: st.dictionaries(NAMES, st.one_of(LEAVES, LISTS, tables), max_size=3),
    max_leaves=12,
)


def laid_over(lower: Any, upper: Any) -> Any:
    """What tables laid over one another are, in five lines: entries of tables merge, anything else replaces."""
    if not isinstance(lower, dict) or not isinstance(upper, dict):
        return upper
    return lower | {name: laid_over(lower.get(name), value) for name, value in upper.items()}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TABLES, min_size=1, max_size=4))
@example([{"a": {"b": 1}}, {"a": 1}, {"a": {"A": 2}}])
@example([{"a": 1}, {"a": {"b": []}}, {"a": {}}])
@example([{"a": ["b"], "A": [1]}, {"a": ["dynaconf_merge", 2]}])
def test_any_layers_are_laid_over_one_another_like_plain_tables(write: Write, tables: Sequence[dict[str, Any]]) -> None:
    files = [write(f"[free]\ntable = {toml(table)}\n", f"{number}.toml") for number, table in enumerate(tables)]
    expected: Any = {}
    for table in tables:
        expected = laid_over(expected, table)

    assert layers(*files).settings([FREE])[FreeSettings].table == expected


def test_only_one_module_of_the_core_knows_dynaconf() -> None:
    importing = re.compile(r"^\s*(?:from|import) dynaconf", re.MULTILINE)

    found = [file.name for file in CORE.rglob("*.py") if importing.search(file.read_text(encoding="utf-8"))]

    assert found == ["layers.py"]


def test_words_that_mean_something_to_dynaconf_mean_nothing_here(write: Write) -> None:
    first = write('[shop]\nhosts = ["a"]\n[shop.labels]\nold = "1"\n', "first.toml")
    second = write(
        '[shop]\nhosts = ["dynaconf_merge", "b"]\nusername = "@format {env[PATH]}"\n'
        'nickname = "@read_file /etc/passwd"\npassword = "@int 5"\n'
        '[shop.labels]\ndynaconf_merge = "false"\ndynaconf_merge_unique = "@none"\ndynaconf_include = "x.toml"\n',
        "second.toml",
    )

    read = shop(first, second, environ={"INVOKER_SHOP__LABELS__last": "@del"})

    assert read.hosts == ("dynaconf_merge", "b")
    assert read.username == "@format {env[PATH]}"
    assert read.nickname == "@read_file /etc/passwd"
    assert read.password.reveal() == "@int 5"
    assert read.labels == {
        "old": "1",
        "dynaconf_merge": "false",
        "dynaconf_merge_unique": "@none",
        "dynaconf_include": "x.toml",
        "last": "@del",
    }


@pytest.mark.parametrize(
    "name", ["dynaconf_include", "dynaconf_merge", "AUTO_CAST_FOR_DYNACONF", "INCLUDES_FOR_DYNACONF", "SHOP", "default"]
)
def test_a_file_can_not_tell_dynaconf_what_to_do(write: Write, name: str) -> None:
    write("[node]\nid = 7\n", "more.toml")
    file = write(f'{name} = "more.toml"\n')

    (fault,) = faults(layers(file))

    assert fault.startswith(f"{name}: there is no such setting")


def test_nothing_is_read_or_run_that_was_not_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("[node]\nid = 6\n", "invoker.local.toml")
    write("[node]\nid = 7\n", ".secrets.toml")
    write("[node]\nid = 8\n", "settings.toml")
    write("INVOKER_NODE__ID=9\n", ".env")
    write('def post(settings):\n    raise SystemExit("was run")\n', "dynaconf_hooks.py")
    monkeypatch.setenv("SETTINGS_FILE_FOR_DYNACONF", "settings.toml")
    monkeypatch.setenv("DYNACONF_NODE__ID", "10")
    monkeypatch.setenv("INVOKER_NODE__ID", "11")
    monkeypatch.setenv("AUTO_CAST_FOR_DYNACONF", "true")
    monkeypatch.setenv("MERGE_ENABLED_FOR_DYNACONF", "true")
    monkeypatch.setenv("LOAD_DOTENV_FOR_DYNACONF", "true")

    read = settings_of(write('[shop]\nusername = "@int 5"\n'))

    assert read[NodeSettings].id == 0
    assert read[ShopSettings].username == "@int 5"


def test_variables_of_dynaconf_change_nothing(write: Write) -> None:
    files = [write("transports = ['http', 'kafka']\n", "a.toml"), write("transports = ['kafka']\n[node]\n", "b.toml")]
    program = (
        "import pathlib, sys\n"
        "from invoker.config.layers import Layers\n"
        "read = Layers.read([*map(pathlib.Path, sys.argv[1:])], environ={}, overrides=['node.tags=@int 5'])\n"
        "print(sorted((line.key, line.value) for line in read.explain() if line.origin != 'default'))\n"
    )
    variables = {
        "AUTO_CAST_FOR_DYNACONF": "true",
        "ENCODING_FOR_DYNACONF": "latin-1",
        "ENVIRONMENTS_FOR_DYNACONF": "true",
        "ENV_FOR_DYNACONF": "production",
        "INCLUDES_FOR_DYNACONF": '["/no/such/file.toml"]',
        "LOADERS_FOR_DYNACONF": '["no.such.module"]',
        "SETTINGS_FILE_FOR_DYNACONF": "/no/such/file.toml",
        "DOTTED_LOOKUP_FOR_DYNACONF": "false",
        "MERGE_ENABLED_FOR_DYNACONF": "true",
        "NESTED_SEPARATOR_FOR_DYNACONF": "k",
        "VAULT_ENABLED_FOR_DYNACONF": "true",
    }

    command = [sys.executable, "-c", program, *map(str, files)]
    ran = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.stderr) == ("""[('node.tags', '["@int 5"]'), ('transports', '["kafka"]')]\n""", "")
