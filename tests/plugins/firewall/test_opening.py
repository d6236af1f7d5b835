"""What is said, and what happens, where the firewall can't do what it is for."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from invoker import Settings
from invoker.config import LogsSettings, RolesSettings
from invoker.contracts import Output
from invoker.entities.container import ContainerSpec
from invoker.errors import SettingsError, StartFailed
from invoker.plugins import Plugins
from invoker.testing.builders import a_spec
from invoker.testing.containers import FakeContainer, FakeRuntime, RecordedOutput
from invoker_firewall.settings import FirewallSettings
from tests.conftest import program
from tests.plugins.firewall.filters import BridgedRuntime, listed, opened, up
from tests.plugins.firewall.machine import BRIDGE, Machine, see_bridged
from tests.plugins.firewall.namespaces import ip

HELPLESS = """
import asyncio, logging, sys
from tests.plugins.firewall.filters import up

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")

async def main():
    async with up():
        print("open")

asyncio.run(main())
"""
NEEDS = "it takes nft 1.0, and a kernel with nf_tables, nft_ct, nft_fib_inet and nft_reject_inet"
REFUSING = """
case "$*" in
*list*) echo "Error: No such file or directory" >&2 ;;
*) echo "/dev/stdin:9:51-81: Error: Could not process rule: Operation not supported
counter name rejected reject with icmpx admin-prohibited
                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^" >&2
esac
exit 1
"""
REFUSAL = (
    "/dev/stdin:9:51-81: Error: Could not process rule: Operation not supported "
    "counter name rejected reject with icmpx admin-prohibited"
)


def warning(caplog: pytest.LogCaptureFixture) -> str:
    """The one warning there is."""
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.name, record.levelno) == ("invoker.firewall", logging.WARNING)
    return record.getMessage()


@pytest.fixture
def nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put another program in the place of `nft`, or none."""

    def put(script: str) -> None:
        path = tmp_path / "bin" / "nft"
        path.parent.mkdir()
        if script:
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
            monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
        else:
            monkeypatch.setenv("PATH", str(path.parent))

    return put


async def test_with_nothing_in_the_way_nothing_is_warned_of(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async with up(allow=("10.1.2.3",)):
        pass

    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.messages == ["actions reach public addresses, and 1 destinations besides"]


@pytest.mark.parametrize("runtime", [FakeRuntime(), BridgedRuntime()], ids=["not told", "none"])
async def test_a_runtime_without_a_network_of_its_own_is_warned_of(
    runtime: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(runtime) as given:
        assert given is runtime

    assert warning(caplog).startswith(f"the network of actions is open: {type(runtime).__name__} gives containers no")


async def test_required_it_refuses_such_a_runtime() -> None:
    with pytest.raises(SettingsError, match=r"^firewall.required: FakeRuntime gives containers no network"):
        async with opened(FakeRuntime(), required=True):
            pytest.fail("it opened")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("", "nft: not found on PATH: install nftables"),
        (REFUSING, f"nft: {REFUSAL}; {NEEDS}"),
        ("[ $1 = --check ] || exit 0; exit 3", f"nft: ended with 3; {NEEDS}"),
        ("exit 4", "nft: ended with 4"),
    ],
    ids=["no program", "a kernel that refuses", "a check that fails", "a look that fails"],
)
async def test_without_rules_the_network_is_open_and_required_refused(
    script: str, told: str, nft: Callable[[str], None], machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    nft(script)

    async with up():
        pass
    with pytest.raises(SettingsError) as caught:
        async with up(required=True):
            pytest.fail("it opened")

    assert warning(caplog) == f"the network of actions is open: no rules: {told}"
    assert str(caught.value) == f"firewall.required: no rules: {told}"


async def test_a_program_that_only_says_that_it_did_is_found_out(
    nft: Callable[[str], None], machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    nft("exit 0")

    async with up() as runtime:
        assert len(runtime.faults()) == 1

    assert caplog.messages == [
        "the firewall can't be looked after, and may be gone: nft: the rules it took are not there"
    ]


async def test_the_program_is_in_a_session_of_its_own_and_has_no_settings_of_ours(
    nft: Callable[[str], None], machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else Ctrl-C on a terminal would end it too, in the middle of what it does."""
    monkeypatch.setenv("INVOKER_SECRET", "1")
    nft("read -r _ _ _ _ _ session _ < /proc/$$/stat\n[ $$ = $session ] && echo own${INVOKER_SECRET} >&2\nexit 1")

    async with up():
        pass

    assert warning(caplog).endswith(": no rules: nft: own")


def test_without_the_capability_it_says_what_to_do(machine: Machine, absent: Callable[[str], None]) -> None:
    helpless = [program("setpriv", absent), "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]

    done = subprocess.run([*helpless, sys.executable, "-c", HELPLESS], capture_output=True, text=True, check=True)

    assert done.stdout == "open\n"
    assert done.stderr == (
        "WARNING invoker.firewall the network of actions is open: the invoker lacks CAP_NET_ADMIN: "
        "run it as root, or give its service that capability\n"
    )


def test_the_capability_is_enough(machine: Machine, absent: Callable[[str], None]) -> None:
    """Of the others none is needed; that of nobody's would keep this from the files of the project."""
    able = [program("setpriv", absent), "--bounding-set", "-all,+net_admin,+dac_override", "--inh-caps", "-all"]

    done = subprocess.run([*able, sys.executable, "-c", HELPLESS], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("open\n", "")


@pytest.mark.parametrize(("version", "required"), [(4, True), (4, False), (6, True), (6, False)])
async def test_where_bridged_packets_are_not_seen_it_is_partly_open(
    *, version: int, required: bool, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Engines give IPv6 only to networks that ask for it: that alone is no reason to refuse."""
    see_bridged(version, "0")
    told = (
        f"containers reach each other over IPv{version}, unless their engine forbids it: load the module br_netfilter"
    )

    if required and version == 4:
        with pytest.raises(SettingsError, match=f"^firewall.required: {told}"):
            async with up(required=True):
                pytest.fail("it opened")
        assert not listed()
    else:
        async with up(required=required):
            assert listed()
        setting = "net.bridge.bridge-nf-call-ip6tables" if version == 6 else "net.bridge.bridge-nf-call-iptables"
        assert warning(caplog) == f"the network of actions is partly open: {told} and set {setting} to 1"


@pytest.mark.parametrize("required", [True, False])
async def test_an_interface_that_is_not_there_yet_is_waited_for(
    *, required: bool, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    class Late(BridgedRuntime):
        async def create(self, spec: ContainerSpec, output: Output) -> FakeContainer:
            ip("link add later0 type bridge")
            return await super().create(spec, output)

    async with up(Late(BRIDGE, "later0"), required=required) as runtime:
        assert "later0" in listed()
        await runtime.create(a_spec(), RecordedOutput())

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_interface_that_is_not_there_with_the_first_container_is_warned_of_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    async with up(BridgedRuntime(BRIDGE, "never0")) as runtime:
        for _ in range(2):
            await runtime.create(a_spec(), RecordedOutput())

    assert warning(caplog) == (
        "the network of actions is open: this machine has no interface never0, which a container is behind by now: "
        "the engine runs rootless or elsewhere"
    )


class Sweeping(BridgedRuntime):
    """An engine that makes the bridge as it sweeps, and has packets on it seen by the filter, or not."""

    def __init__(self, seen: str) -> None:
        super().__init__("later0")
        self._seen = seen

    async def sweep(self) -> Sequence[str] | None:
        ip("link add later0 type bridge")
        see_bridged(4, self._seen)
        return await super().sweep()


async def test_what_an_engine_puts_right_when_it_makes_the_bridge_is_not_warned_of(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    see_bridged(4, "0")

    async with up(Sweeping("1"), required=True):
        assert "later0" in listed()

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_it_leaves_open_is_told_then(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    async with up(Sweeping("0")):
        assert "later0" in listed()

    assert warning(caplog).startswith("the network of actions is partly open: containers reach each other over IPv4")


async def test_what_it_leaves_open_is_no_start_where_the_firewall_is_required(machine: Machine) -> None:
    async with opened(Sweeping("0"), required=True) as runtime:
        with pytest.raises(StartFailed, match=r"^firewall.required: containers reach each other over IPv4"):
            await runtime.sweep()

        assert not listed()


@pytest.mark.parametrize("bridge", ["", "two words", "-j", "br0+", "br*", "sixteen-letters-", 'x"', "../x", "br0\n"])
async def test_what_can_be_no_interface_becomes_no_rule(
    bridge: str, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    async with up(BridgedRuntime(BRIDGE, bridge)):
        assert not listed()

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
