"""Loaders that an operator names."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from invoker.config import EncryptionSettings, NodeSettings, PoolSettings, RolesSettings, Secret
from invoker.config.conversion import Explained
from invoker.errors import SettingsError
from tests.core.config.shop import SHOP, ShopSettings, faults, layers

Write = Callable[..., Path]

VAULT = """
from dynaconf.loaders.base import SourceMetadata

calls = []

def load(obj, env=None, silent=True, key=None, filename=None):
    calls.append((env, silent, key))
    obj.update(
        {
            "shop": {"password": "12345", "hosts": "a,b", "port": "81", "labels": {"Mine": "from the vault"}},
            "NODE__ID": "7",
            "encryption": {"keys": {"aes-128": "@int 5"}},
        },
        loader_identifier=SourceMetadata("vault", "here"),
        merge=True,
    )
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Write a module that can be imported; return its name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)

    def written(name: str, source: str) -> str:
        (folder / f"{name}.py").write_text(source)
        return name

    yield written
    for name in set(sys.modules) - before:
        del sys.modules[name]


Module = Callable[[str, str], str]


def test_what_a_loader_brings_lies_over_the_files_and_below_the_environment(write: Write, module: Module) -> None:
    name = module("vault_of_tests", VAULT)
    file = write(
        f'loaders = ["{name}"]\n[node]\nid = 1\ntags = ["x"]\n'
        '[shop]\nhosts = ["z"]\nport = 80\ntip = 5\n[shop.labels]\nmine = "from the file"\n'
    )

    read = layers(file, environ={"INVOKER_SHOP__PORT": "82"}).settings([SHOP])

    assert (read[NodeSettings].id, read[NodeSettings].tags) == (7, ("x",))
    assert read[ShopSettings].hosts == ("a", "b")
    assert (read[ShopSettings].port, read[ShopSettings].tip) == (82, 5)
    assert read[ShopSettings].password == Secret("12345")
    assert read[ShopSettings].labels == {"mine": "from the file", "Mine": "from the vault"}
    assert read[EncryptionSettings].keys == {"aes-128": Secret("@int 5")}


@pytest.mark.parametrize(
    ("environ", "overrides"),
    [
        ({"INVOKER_LOADERS": "vault_of_tests"}, []),
        ({}, ["loaders=vault_of_tests"]),
        ({"INVOKER_LOADERS": '["none.such"]'}, ['loaders=["vault_of_tests"]']),
    ],
)
def test_a_loader_is_named_like_any_setting(module: Module, environ: dict[str, str], overrides: list[str]) -> None:
    name = module("vault_of_tests", VAULT)

    read = layers(environ=environ, overrides=overrides)

    assert read.settings([SHOP])[RolesSettings].loaders == (name,)
    assert read.settings([SHOP])[NodeSettings].id == 7
    assert read.tables() == {"shop"}


def test_a_loader_is_run_once_and_told_to_raise(module: Module) -> None:
    name = module("vault_of_tests", VAULT)

    read = layers(overrides=[f"loaders={name}"])
    read.roles()
    read.settings([SHOP])
    read.explain([SHOP])

    assert sys.modules[name].calls == [("MAIN", False, None)]


def test_a_later_loader_lies_over_an_earlier_one(module: Module) -> None:
    module("one", "def load(obj, *_, **__):\n    obj.set('node', {'id': 1, 'tags': ['one']})")
    module("two", "def load(obj, *_, **__):\n    obj.update({'node__tags': ['two'], 'POOL': {'memory': '3 GB'}})")

    read = layers(overrides=["loaders=one,two"])

    assert read.settings()[NodeSettings] == NodeSettings(id=1, tags=("two",))
    assert read.settings()[PoolSettings].memory == 3 << 30
    lines = {line.key: line for line in read.explain()}
    assert lines["node.id"] == Explained("node.id", "1", "loader one")
    assert lines["node.tags"] == Explained(
        "node.tags", '["two"]', "loader two", (Explained("node.tags", '["one"]', "loader one"),)
    )


def test_a_loader_of_dynaconf_reads_as_it_always_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKER_SHOP__LABELS", '{ a = "1" }')
    monkeypatch.setenv("INVOKER_SHOP__TIP", "5")
    monkeypatch.setenv("AUTO_CAST_FOR_DYNACONF", "true")
    monkeypatch.setenv("INVOKER_SHOP__USERNAME", "@format {env[HOME]}")

    read = layers(overrides=["loaders=dynaconf.loaders.env_loader"]).settings([SHOP])[ShopSettings]

    assert (read.labels, read.tip, read.username) == ({"a": "1"}, 5, "@format {env[HOME]}")


def test_options_of_dynaconfs_loaders_come_from_the_environment(
    module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "def load(obj, *_, **__):\n    obj.set('shop.username', obj.VAULT_PATH_FOR_DYNACONF, tomlfy=True)"
    monkeypatch.setenv("VAULT_PATH_FOR_DYNACONF", "invokers")

    read = layers(overrides=[f"loaders={module('asking', source)}"]).settings([SHOP])

    assert read[ShopSettings].username == "invokers"


def test_what_a_loader_brings_is_checked_like_all_else(module: Module) -> None:
    source = "def load(obj, *_, **__):\n    obj.update({'SHOP': {'port': 0, 'pasword': 'hunter2', 'tls': 'x'}})"

    found = faults(layers(overrides=[f"loaders={module('wrong', source)}"]))

    assert found == (
        "shop.port: expected a whole number of at least 1 and of at most 65535, got 0 (from wrong)",
        "shop.tls: expected a table, got 'x' (from wrong)",
        "shop.pasword: there is no such setting; did you mean shop.password? (from wrong)",
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'failing'"),
        ("", "AttributeError: module 'failing' has no attribute 'load'"),
        ("def load(obj, *_, **__): raise OSError('no http://jane:hunter2@vault')", "OSError: no http://***@vault"),
        ("x = [\nx.append(x)\ndef load(obj, *_, **__): obj.update({'x': x})", "SyntaxError: "),
        ("def load(obj, *_, **__): obj.update({'x': list(range(20_000))})", "ValueError: beyond 16 levels, 10000"),
    ],
)
def test_a_loader_that_fails_is_named_with_the_reason(module: Module, source: str | None, reason: str) -> None:
    if source is not None:
        module("failing", source)

    with pytest.raises(SettingsError) as raised:
        layers(environ={"INVOKER_LOADERS": "failing"}, overrides=["pool.memory=lots"])

    memory, failed = raised.value.faults
    assert memory.startswith("pool.memory: ")
    assert failed.startswith(f"loaders: failing failed: {reason}")
    assert failed.endswith(" (from INVOKER_LOADERS)")


def test_loaders_with_a_fault_are_not_run_and_told_with_the_others() -> None:
    read = layers(overrides=["loaders=[5]", "pool.memory=lots"])

    assert [fault.partition(":")[0] for fault in faults(read)] == ["loaders", "pool.memory"]
