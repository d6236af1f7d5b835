"""The firewall itself: up before the first container, looked after, and away when the last one has gone."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec

from invoker import Settings
from invoker.config import NodeSettings, PoolSettings, node_of
from invoker.contracts import ContainerRuntime, Opening
from invoker.errors import SettingsError
from invoker_firewall import host
from invoker_firewall.programs import FilterFailed, in_use
from invoker_firewall.rules import Family, Line
from invoker_firewall.settings import FirewallSettings
from invoker_firewall.side import Side
from invoker_firewall.table import Chains

logger = logging.getLogger("invoker.firewall")

_INTERFACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", re.ASCII)


class Obstacle(msgspec.Struct, frozen=True):
    """Why containers reach more than they should, and what to do about it."""

    text: str
    certain: bool = True
    """False: it may yet turn out well, as it does when an interface comes with the first container."""


@asynccontextmanager
async def guarded(inner: Opening[ContainerRuntime], settings: Settings) -> AsyncIterator[ContainerRuntime]:
    """Open a runtime behind the firewall; it is yielded as it is.

    Raises:
        SettingsError: the firewall is required and can't be put in place.
    """
    firewall = Firewall(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(firewall.take_down)  # last of all: the runtime has removed its containers then
        runtime = await stack.enter_async_context(inner)
        await firewall.put_up(runtime)
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(firewall.keep(), name="firewall")
            try:
                yield runtime
            finally:
                keeper.cancel()


class Firewall:
    """The rules of both families, two lines of each. Owns what is known of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings[FirewallSettings]
        self._chains = Chains.of(node_of(settings[NodeSettings], settings[PoolSettings]))
        self._runtime: ContainerRuntime | None = None
        self._sides: list[Side] = []
        """Those that could be put up."""
        self._complaint = ""
        """The last failure to look after the rules; the same is not told twice in a row."""

    async def put_up(self, runtime: ContainerRuntime) -> None:
        """Put the rules in place, those of an earlier life replaced; say what is in the way.

        Raises:
            SettingsError: something is in the way, and the firewall is required.
        """
        obstacles = await self._obstacles(runtime)
        told = "; ".join(obstacle.text for obstacle in obstacles)
        if self._settings.required and any(obstacle.certain for obstacle in obstacles):
            raise SettingsError([f"firewall.required: {told}"])
        if obstacles:
            extent = "partly open" if self._sides else "open"
            logger.warning("the network of actions is %s: %s", extent, told)
        if self._sides:
            logger.info(
                "actions reach %s, and %d destinations besides",
                "public addresses" if self._settings.internet else "no public addresses",
                len(self._settings.allow),
            )

    async def keep(self) -> None:
        """Look after the rules until cancelled."""
        while self._sides:
            await asyncio.sleep(self._settings.reconcile_interval)
            await self.look()

    async def look(self) -> None:
        """Put back what somebody has changed, and bring up to date what the machine's own changes ask for."""
        complaints = []
        for side in self._sides:
            try:
                changes = await side.look(self._bridges(), docker=self._docker)
            except FilterFailed as error:
                complaints.append(f"{side}: {error}")
                continue
            if changes:
                logger.warning("somebody changed the firewall, %s: %s; put back", side, "; ".join(changes))
        complaint = "; ".join(complaints)
        if complaint and complaint != self._complaint:
            logger.error("the firewall can't be looked after, and may be gone: %s", complaint)
        self._complaint = complaint

    async def take_down(self) -> None:
        """Take every rule away; what can't be taken is logged."""
        while self._sides:
            side = self._sides.pop()
            try:
                await side.take_down()
            except FilterFailed as error:
                logger.warning("chains %s of %s are left behind: %s", ", ".join(self._chains), side, error)

    async def _obstacles(self, runtime: ContainerRuntime) -> Sequence[Obstacle]:
        """Put up what can be; return what can't, and what doesn't help."""
        if not runtime.bridges():
            name = type(runtime).__name__
            return [Obstacle(f"{name} gives containers no network that could be told from the machine's own")]
        self._runtime = runtime
        if not host.may_filter():
            return [Obstacle("the invoker lacks CAP_NET_ADMIN: run it as root, or give its service that capability")]
        obstacles = []
        for family in Family:
            if family is Family.IPV6 and not host.has_ipv6():
                continue
            try:
                await self._put_up(family)
            except FilterFailed as error:
                obstacles.append(Obstacle(f"no {family} rules: {error}"))
            else:
                obstacles += _unseen(family)
        return obstacles + _absent(runtime.bridges() if self._sides else ())

    async def _put_up(self, family: Family) -> None:
        programs = await in_use(family)
        for line in Line:
            side = Side(family, line, programs, self._settings, self._chains)
            self._sides.append(side)  # at once: what is cut off is taken down as well
            try:
                await side.put_up(self._bridges(), docker=self._docker)
            except FilterFailed as error:
                self._sides.remove(side)
                if line is Line.FIRST:
                    raise
                logger.info("the firewall has no second line for %s: %s", family, error)  # an older kernel without it

    @property
    def _docker(self) -> bool:
        """Whether the machine has Docker, which has chains for IPv6 from version 27 on, and for IPv4 always."""
        return any(side.has_docker for side in self._sides)

    def _bridges(self) -> Sequence[str]:
        """Return the interfaces; their names become part of rules."""
        assert self._runtime is not None  # noqa: S101 (no side is put up without)
        bridges = tuple(self._runtime.bridges())
        for bridge in bridges:
            if not _INTERFACE.fullmatch(bridge):
                raise FilterFailed("the container runtime", f"{bridge!r} can't be the name of a bridge")
        return bridges


def _unseen(family: Family) -> list[Obstacle]:
    """Two containers behind one bridge can be kept apart only if the bridge shows its packets to the filter."""
    if host.sees_bridged(family):
        return []
    text = (
        f"containers reach each other over {family}, unless their engine forbids it: load the module br_netfilter "
        f"and set {host.sysctl_of_bridged(family)} to 1"
    )
    return [Obstacle(text, certain=family is Family.IPV4)]  # engines give IPv6 only to networks that ask for it


def _absent(bridges: Sequence[str]) -> list[Obstacle]:
    absent = [bridge for bridge in bridges if bridge not in host.interfaces()]
    if not absent:
        return []
    text = (
        f"this machine has no interface {', '.join(absent)} yet: rules wait for it, "
        "in vain if the engine runs rootless or on another machine"
    )
    return [Obstacle(text, certain=False)]  # podman makes it with the first container
