"""The `[sqlite]` section and the hooks of the plugin."""

import subprocess
import sys
from pathlib import Path

import pytest

from invoker import Settings
from invoker.config import ByteSize, NodeSettings, SecondsOrZero
from invoker.contracts import ActivationStore, FunctionStore
from invoker_sqlite import open_activation_store, open_function_store, settings_section
from invoker_sqlite.settings import KeepSettings, SqliteSettings, path_of


def test_the_section_is_called_like_the_plugin() -> None:
    assert settings_section().name == "sqlite"
    assert settings_section().into is SqliteSettings


def test_a_week_and_256_megabytes_are_kept() -> None:
    assert SqliteSettings().keep == KeepSettings(age=SecondsOrZero(7 * 86400), bytes=ByteSize.parse("256 MB"))


def test_the_file_is_in_the_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert path_of(Settings.of()) == tmp_path / "functions-invoker" / "invoker.sqlite3"
    assert path_of(Settings.of(NodeSettings(state_dir=tmp_path / "own"))) == tmp_path / "own" / "invoker.sqlite3"


def test_the_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    node = NodeSettings(state_dir=tmp_path / "own")

    assert path_of(Settings.of(node, SqliteSettings(path=Path("/srv/file")))) == Path("/srv/file")
    assert path_of(Settings.of(node, SqliteSettings(path=Path("file")))) == tmp_path / "file"


async def test_both_stores_are_in_one_file(tmp_path: Path) -> None:
    settings = Settings.of(NodeSettings(state_dir=tmp_path / "state"))
    async with open_function_store(settings) as functions, open_activation_store(settings) as activations:
        assert isinstance(functions, FunctionStore)
        assert isinstance(activations, ActivationStore)
        here = [path.name for path in (tmp_path / "state").iterdir() if path.suffix == ".sqlite3"]

    assert here == ["invoker.sqlite3"]


def test_describing_the_plugin_loads_no_database() -> None:
    program = "import invoker_sqlite, sys; invoker_sqlite.settings_section(); sys.exit('sqlite3' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
