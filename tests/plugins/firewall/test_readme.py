"""What the plugin's README says is so."""

import re
import tomllib
from pathlib import Path

import msgspec

from invoker.config.layers import Layers
from invoker_firewall.settings import SECTION, FirewallSettings

ROOT = Path(__file__).parents[3]
README = (ROOT / "plugins/firewall/README.md").read_text()
SETTINGS, *_ = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def test_the_settings_are_settings(tmp_path: Path) -> None:
    path = tmp_path / "invoker.toml"
    path.write_text(SETTINGS)

    settings = Layers.read([path], environ={}).settings([SECTION])[FirewallSettings]

    assert tomllib.loads(SETTINGS)["firewall"].keys() == {
        field.name for field in msgspec.structs.fields(FirewallSettings)
    }
    assert settings.reconcile_interval == FirewallSettings().reconcile_interval
    assert (settings.internet, settings.required) == (True, True)


def test_every_module_is_on_the_list() -> None:
    modules = {path.stem for path in (ROOT / "plugins/firewall/invoker_firewall").glob("*.py")} - {"__init__"}

    assert modules <= set(re.findall(r"`(\w+)`", README[README.index("## How it works") :]))
