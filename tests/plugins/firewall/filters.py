"""The packet filter of the namespace that a test is in, and firewalls to put there."""

import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from invoker import Settings
from invoker.config import NodeSettings, PoolSettings, node_of
from invoker.contracts import ContainerRuntime, Opening
from invoker.testing.containers import FakeRuntime
from invoker_firewall.guard import guarded
from invoker_firewall.settings import FirewallSettings
from invoker_firewall.table import Table
from tests.plugins.firewall.machine import BRIDGE

HANDLES = re.compile(r" # handle \d+$", re.MULTILINE)
COUNTERS = re.compile(r"packets \d+ bytes \d+")
TABLE = Table(node_of(NodeSettings(), PoolSettings())).name
"""Of the firewall whose identity is the default."""


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


def opened(
    runtime: ContainerRuntime | None = None, *, node: NodeSettings | None = None, **firewall: Any
) -> Opening[ContainerRuntime]:
    """Open a runtime, one behind the test's bridge if none is given, with the firewall around it."""
    return guarded(opening(runtime or BridgedRuntime(BRIDGE)), settings(node, **firewall))


@asynccontextmanager
async def up(
    runtime: ContainerRuntime | None = None, *, node: NodeSettings | None = None, **firewall: Any
) -> AsyncIterator[Any]:
    """The same, about to run: the rules are there. It is what the plugin makes of the runtime."""
    async with opened(runtime, node=node, **firewall) as guarded_runtime:
        await guarded_runtime.sweep()
        yield guarded_runtime


@asynccontextmanager
async def opening(runtime: ContainerRuntime) -> AsyncIterator[ContainerRuntime]:
    """What a runtime plugin returns."""
    yield runtime


def nft(command: str, *options: str) -> str:
    """Run `nft`, as an operator would; TABLE stands for that of the default identity."""
    line = ["nft", *options, command.replace("TABLE", TABLE)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return done.stdout


def listed(table: str = TABLE, *, handles: bool = False) -> str:
    """A table as it is, but for what has been counted; empty where there is none."""
    done = subprocess.run(
        ["nft", "--handle", "list", "table", *table.split()], capture_output=True, text=True, check=False
    )
    return COUNTERS.sub("", done.stdout if handles else HANDLES.sub("", done.stdout))


def change(text: str, program: str = "iptables-nft") -> None:
    """Change the rules of others, for `iptables-restore`."""
    command = [f"{program}-restore", "--noflush", "-w", "5"]
    subprocess.run(command, input=text, capture_output=True, text=True, check=True)
