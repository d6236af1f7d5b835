"""The packet filter of the namespace that a test is in, as an operator sees it."""

import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from invoker import Settings
from invoker.config import NodeSettings
from invoker.contracts import ContainerRuntime, Opening
from invoker.testing.containers import FakeRuntime
from invoker_firewall.guard import guarded
from invoker_firewall.settings import FirewallSettings
from tests.plugins.firewall.machine import BRIDGE

COUNTERS = re.compile(r" \[\d+:\d+\]$")

DOCKERS_RULES = """\
*filter
:FORWARD DROP
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A DOCKER-USER -j RETURN
-A FORWARD -j DOCKER-USER
-A FORWARD -j ACCEPT
COMMIT
"""
"""As Docker leaves them, but that everything is accepted in the end."""


class BridgedRuntime(FakeRuntime):
    """A runtime whose containers are behind bridges."""

    def __init__(self, *bridges: str) -> None:
        super().__init__()
        self.names = list(bridges)

    def bridges(self) -> list[str]:
        """See `ContainerRuntime`."""
        return self.names


def settings(node: NodeSettings | None = None, **firewall: Any) -> Settings:
    """Settings of the firewall and of the identity."""
    return Settings.of(node or NodeSettings(), FirewallSettings(**{"resolvers": (), **firewall}))


def up(
    runtime: ContainerRuntime | None = None, *, node: NodeSettings | None = None, **firewall: Any
) -> Opening[ContainerRuntime]:
    """Open a runtime, one behind the test's bridge if none is given, with the firewall around it."""
    return guarded(opening(runtime or BridgedRuntime(BRIDGE)), settings(node, **firewall))


@asynccontextmanager
async def opening(runtime: ContainerRuntime) -> AsyncIterator[ContainerRuntime]:
    """What a runtime plugin returns."""
    yield runtime


def rules(program: str = "iptables", chain: str = "", table: str = "filter") -> list[str]:
    """The rules of a table, or of one chain of it."""
    lines = saved(program, "-t", table)
    return [line for line in lines if line.startswith(f"-A {chain} ")] if chain else lines


def packets_dropped(program: str) -> int:
    """How many packets the second line has dropped so far."""
    lines = saved(program, "-c", "-t", "security")
    return sum(int(line[1 : line.index(":")]) for line in lines if line.endswith("-j DROP"))


def saved(program: str, *options: str) -> list[str]:
    """What `iptables-save` prints, its remarks left out, and how many packets each chain has seen."""
    done = subprocess.run([f"{program}-save", *options], capture_output=True, text=True, check=True)
    return [COUNTERS.sub("", line) for line in done.stdout.splitlines() if not line.startswith("#")]


def redirect(address: str, to: str) -> None:
    """Have packets for an address go to another one."""
    edit("-t", "nat", "-I", "PREROUTING", "1", "-d", address, "-j", "DNAT", "--to-destination", to)


def change(text: str, program: str = "iptables") -> None:
    """Change the table, for `iptables-restore`."""
    command = [f"{program}-restore", "--noflush", "-w", "5"]
    subprocess.run(command, input=text, capture_output=True, text=True, check=True)


def edit(*arguments: str, program: str = "iptables") -> None:
    """Run iptables."""
    subprocess.run([program, "-w", "5", *arguments], capture_output=True, text=True, check=True)
