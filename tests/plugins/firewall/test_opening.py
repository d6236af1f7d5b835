"""What is said, and what happens, where the firewall can't do what it is for."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from invoker import Settings
from invoker.config import LogsSettings, RolesSettings
from invoker.errors import SettingsError
from invoker.plugins import Plugins
from invoker.testing.containers import FakeRuntime
from invoker_firewall.settings import FirewallSettings
from tests.conftest import program
from tests.plugins.firewall.filters import BridgedRuntime, rules, up
from tests.plugins.firewall.machine import BRIDGE, Machine, see_bridged

HELPLESS = """
import asyncio, logging, sys
from tests.plugins.firewall.filters import up

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")

async def main():
    async with up():
        print("open")

asyncio.run(main())
"""


def warning(caplog: pytest.LogCaptureFixture) -> str:
    """The one warning there is."""
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.name, record.levelno) == ("invoker.firewall", logging.WARNING)
    return record.getMessage()


def programs(folder: Path, *scripts: tuple[str, str]) -> str:
    """A directory with nothing but these programs."""
    folder.mkdir()
    for name, text in scripts:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return str(folder)


async def test_with_nothing_in_the_way_nothing_is_warned_of(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async with up(allow=("10.1.2.3",)):
        pass

    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.messages == ["actions reach public addresses, and 1 destinations besides"]


@pytest.mark.parametrize("runtime", [FakeRuntime(), BridgedRuntime()], ids=["no method", "no bridges"])
async def test_a_runtime_without_a_network_of_its_own_is_warned_of(
    runtime: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    async with up(runtime) as given:
        assert given is runtime

    assert warning(caplog).startswith(f"the network of actions is open: {type(runtime).__name__} gives containers no")


async def test_required_it_refuses_such_a_runtime() -> None:
    with pytest.raises(SettingsError, match=r"^firewall.required: FakeRuntime gives containers no network"):
        async with up(FakeRuntime(), required=True):
            pytest.fail("it opened")


async def test_without_programs_it_says_which(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin"))

    async with up():
        pass

    assert warning(caplog) == (
        "the network of actions is open: no IPv4 rules: iptables-restore: not found on PATH: install iptables; "
        "no IPv6 rules: ip6tables-restore: not found on PATH: install iptables"
    )


async def test_a_program_that_fails_is_quoted(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scripts = [(f"{name}-save", "exit 0") for name in ("iptables", "ip6tables")]
    scripts += [(f"{name}-restore", "echo '# a remark' >&2; echo no chance >&2; exit 2") for name in ("ip6tables",)]
    scripts += [("iptables-restore", "exit 3")]
    folder = programs(tmp_path / "bin", *scripts)
    monkeypatch.setenv("PATH", folder)

    async with up():
        pass

    assert warning(caplog) == (
        f"the network of actions is open: no IPv4 rules: {folder}/iptables-restore: ended with 3; "
        f"no IPv6 rules: {folder}/ip6tables-restore: no chance"
    )


async def test_a_program_that_only_says_that_it_did_is_found_out(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{name}-{what}" for name in ("iptables", "ip6tables") for what in ("save", "restore")]
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", *((name, "exit 0") for name in names)))

    async with up():
        pass

    assert "the rules it took are not there" in warning(caplog)


async def test_with_one_family_only_it_is_partly_open_and_required_refused(
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    absent: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "bin"
    programs(folder)
    for name in ("iptables-save", "iptables-restore"):
        (folder / name).symlink_to(program(name, absent))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(folder))

        async with up():
            pass
        with pytest.raises(SettingsError, match=r"firewall.required: no IPv6 rules: ip6tables-restore: not found"):
            async with up(required=True):
                pytest.fail("it opened")

    assert warning(caplog).startswith("the network of actions is partly open: no IPv6 rules: ")
    assert "FUNCTIONS-INVOKER" not in str(rules())


def test_without_the_capability_it_says_what_to_do(machine: Machine, absent: Callable[[str], None]) -> None:
    helpless = [program("setpriv", absent), "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]

    done = subprocess.run([*helpless, sys.executable, "-c", HELPLESS], capture_output=True, text=True, check=True)

    assert done.stdout == "open\n"
    assert done.stderr == (
        "WARNING invoker.firewall the network of actions is open: the invoker lacks CAP_NET_ADMIN: "
        "run it as root, or give its service that capability\n"
    )


async def test_where_bridged_packets_are_not_seen_it_is_partly_open(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    see_bridged(4, "0")

    async with up():
        pass
    with pytest.raises(SettingsError, match="containers reach each other over IPv4"):
        async with up(required=True):
            pytest.fail("it opened")

    assert "net.bridge.bridge-nf-call-iptables to 1" in warning(caplog)


@pytest.mark.parametrize("required", [True, False])
async def test_an_interface_that_is_not_there_yet_is_warned_of_and_waited_for(
    *, required: bool, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    async with up(BridgedRuntime(BRIDGE, "later0"), required=required):
        assert "later0" in str(rules(chain="INPUT"))

    assert "this machine has no interface later0 yet: rules wait for it" in warning(caplog)


@pytest.mark.parametrize("bridge", ["", "two words", "-j", "br0+", "sixteen-letters-", 'x"', "../x", "br0\n"])
async def test_what_can_be_no_interface_becomes_no_rule(
    bridge: str, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    async with up(BridgedRuntime(BRIDGE, bridge)):
        assert "FUNCTIONS-INVOKER" not in str(rules())

    assert f"the container runtime: {bridge!r} can't be the name of a bridge" in warning(caplog)


async def test_the_plugin_wraps_the_runtime_of_another(caplog: pytest.LogCaptureFixture) -> None:
    roles = RolesSettings(transports=(), runtime="process", extra=("firewall",))
    plugins = Plugins(roles, LogsSettings())
    settings = Settings.of(roles, FirewallSettings())

    async with plugins.container_runtime(settings) as runtime:
        pass

    assert type(runtime).__name__ == "ProcessRuntime"
    assert "the network of actions is open: ProcessRuntime gives" in caplog.text
    assert "firewall" in [section.name for section in plugins.sections()]
