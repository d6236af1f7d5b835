"""Where the state directory is."""

from pathlib import Path

import pytest

from invoker.config import NodeSettings, state_dir
from invoker.errors import SettingsError


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_in_the_users_home(home: Path) -> None:
    assert state_dir(NodeSettings()) == home / ".local" / "state" / "functions-invoker"


def test_it_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib/states")

    assert state_dir(NodeSettings()) == Path("/var/lib/states/functions-invoker")


@pytest.mark.parametrize("useless", ["", "relative/states"])
def test_what_is_no_absolute_path_is_ignored(monkeypatch: pytest.MonkeyPatch, home: Path, useless: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", useless)

    assert state_dir(NodeSettings()) == home / ".local" / "state" / "functions-invoker"


def test_the_setting_comes_first(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib/states")

    assert state_dir(NodeSettings(state_dir=Path("/srv/invoker"))) == Path("/srv/invoker")
    assert state_dir(NodeSettings(state_dir=Path("here"))) == home / "here"


def test_without_a_home_it_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)  # a user without a name in /etc/passwd

    with pytest.raises(SettingsError) as caught:
        state_dir(NodeSettings())

    assert caught.value.faults[0].startswith("node.state_dir: must be given")
