"""The firewall around a runtime: up before the first container, looked after, and away when the last one has gone."""

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from invoker import Settings
from invoker.config import NodeSettings, PoolSettings, node_of
from invoker.contracts import Container, ContainerRuntime, MetricFamily, Opening, Output
from invoker.entities.container import ContainerSpec
from invoker.errors import SettingsError, StartFailed
from invoker_firewall.ruleset import Ruleset, ruleset
from invoker_firewall.settings import GATEWAY, Address, FirewallSettings
from invoker_firewall.table import FilterFailed, Table

logger = logging.getLogger("invoker.firewall")

_INTERFACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", re.ASCII)
_OF_DOCKER: Final = "docker0"
"""The interface that Docker makes as it starts."""
_NET_ADMIN: Final = 1 << 12  # capabilities(7)
_EFFECTIVE: Final = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)
_STATUS: Final = Path("/proc/self/status")
_IPV6: Final = Path("/proc/net/if_inet6")
_BRIDGED: Final = Path("/proc/sys/net/bridge")
"""Whether packets between two ports of one bridge come by the packet filter: nftables' too, whatever the names say."""
_NAMESERVER: Final = re.compile(r"^[ \t]*nameserver[ \t]+(\S+)", re.MULTILINE)
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_SYSTEMD_RESOLV_CONF: Final = Path("/run/systemd/resolve/resolv.conf")
"""The servers behind systemd's own resolver on 127.0.0.53: Docker gives these to containers."""


@asynccontextmanager
async def guarded(inner: Opening[ContainerRuntime], settings: Settings) -> AsyncIterator[ContainerRuntime]:
    """Open a runtime behind the firewall; where there can be none, the runtime is yielded as it is.

    Raises:
        SettingsError: the firewall is required and can't be put in place.
    """
    async with AsyncExitStack() as last, inner as runtime:
        firewall = Firewall(runtime, settings)
        last.push_async_callback(firewall.take_down)  # the runtime has removed its containers then
        if not await firewall.examine():
            yield runtime
            return
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(firewall.keep(), name="firewall")
            try:
                yield cast("ContainerRuntime", firewall)
            finally:
                keeper.cancel()


class Firewall:
    """A runtime whose containers are kept in by a table of rules; what isn't said here is the runtime's own.

    The table is put when an invoker is about to run: who only looks, beside it perhaps, leaves what is there alone.
    """

    def __init__(self, runtime: ContainerRuntime, settings: Settings) -> None:
        self._runtime = runtime
        self._settings = settings[FirewallSettings]
        self._table = Table(node_of(settings[NodeSettings], settings[PoolSettings]))
        self._turn = asyncio.Lock()
        self._ours = False
        """Whether the table that is there may have been put by us."""
        self._complaint = ""
        """The last failure to look after the rules; the same is not told twice in a row."""
        self._told = ""
        """The gaps that were warned of."""
        self._expected = True
        """The bridges may still be made."""

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the runtime."""
        return getattr(self._runtime, name)

    async def sweep(self) -> Sequence[str] | None:
        """See `ContainerRuntime`. The runtime goes first: it may know that another of this identity runs."""
        swept = await self._runtime.sweep()
        if gap := self._gap():  # Docker makes its bridge, and what sees the packets on it, as it sweeps
            raise StartFailed(gap)
        await self._put_up()
        return swept

    async def create(self, spec: ContainerSpec, output: Output) -> Container:
        """See `ContainerRuntime`."""
        await self._put_up()
        container = await self._runtime.create(spec, output)
        if self._expected:
            self._expected = False
            if absent := _absent(self._runtime.bridges()):  # podman makes it with the first container
                told = f"this machine has no interface {', '.join(absent)}, which a container is behind by now"
                logger.warning("the network of actions is open: %s: the engine runs rootless or elsewhere", told)
        return container

    def faults(self) -> Sequence[str]:
        """See `Part`."""
        return (*self._runtime.faults(), *([self._complaint] if self._complaint else ()))

    def metrics(self) -> Sequence[MetricFamily]:
        """See `Part`. As of the last look; begins again where the rules were put back."""
        text = "Packets of containers that were rejected."
        ours = MetricFamily("firewall_rejected_packets", "counter", text, [({}, self._table.rejected)])
        return (*self._runtime.metrics(), ours)

    async def examine(self) -> bool:
        """Say what is in the way, and return whether rules can be put in place. Changes nothing.

        Raises:
            SettingsError: something is in the way, and the firewall is required.
        """
        if obstacle := await self._obstacle():
            if self._settings.required:
                raise SettingsError([f"firewall.required: {obstacle}"])
            logger.warning("the network of actions is open: %s", obstacle)
        elif not _absent(self._runtime.bridges()) and (gap := self._gap()):
            raise SettingsError([gap])
        return not obstacle

    def _gap(self) -> str:
        """Warn, once, of what rules can't close; return why there may be no such gap."""
        gaps = dict(_gaps())
        told = "; ".join(gaps)
        if self._settings.required and any(gaps.values()):
            return f"firewall.required: {told}"
        if told and told != self._told:
            logger.warning("the network of actions is partly open: %s", told)
        self._told = told
        return ""

    async def keep(self) -> None:
        """Look after the rules, once they are there, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.reconcile_interval)
            if self._ours:
                await self.look()

    async def look(self) -> None:
        """Put back what somebody has changed, and bring up to date what the machine's own changes ask for."""
        async with self._turn:
            before, complaint = self._table.put, ""
            self._ours = True  # from now on: what is cut off is taken down as well
            try:
                self._tell(await self._table.keep(self._wanted()), before)
            except FilterFailed as error:
                complaint = f"the firewall can't be looked after, and may be gone: {error}"
            if complaint and complaint != self._complaint:
                logger.error("%s", complaint)
            self._complaint = complaint

    async def take_down(self) -> None:
        """Take the table away if we put it; one that can't be taken is logged."""
        if self._ours:
            try:
                await self._table.remove()
            except FilterFailed as error:
                logger.warning("table %s is left behind: %s", self._table.name, error)

    async def _put_up(self) -> None:
        if self._table.put is None:
            await self.look()
            if self._complaint and self._settings.required:
                raise StartFailed(f"firewall.required: {self._complaint}")

    def _tell(self, changes: str, before: Ruleset | None) -> None:
        if changes:
            logger.warning("somebody changed the firewall, table %s: %s; put back", self._table.name, changes)
        elif before is None:
            reach = "public addresses" if self._settings.internet else "no public addresses"
            logger.info("actions reach %s, and %d destinations besides", reach, len(self._settings.allow))
        elif before != self._table.put:
            logger.info("the rules of table %s follow a change of bridges or name servers", self._table.name)

    async def _obstacle(self) -> str:
        """Return why there can be no rules at all, and what to do about it."""
        if not self._runtime.bridges():
            name = type(self._runtime).__name__
            return f"{name} gives containers no network that could be told from the machine's own"
        capabilities = _EFFECTIVE.search(_text(_STATUS))
        if capabilities is None or not int(capabilities[1], 16) & _NET_ADMIN:
            return "the invoker lacks CAP_NET_ADMIN: run it as root, or give its service that capability"
        try:
            await self._table.check(self._wanted())
        except FilterFailed as error:
            return f"no rules: {error}"
        return ""

    def _wanted(self) -> Ruleset:
        bridges = self._runtime.bridges()
        for bridge in bridges:  # their names become part of rules
            if not _INTERFACE.fullmatch(bridge):
                raise FilterFailed("the container runtime", f"{bridge!r} can't be the name of a bridge")
        named = self._settings.resolvers
        if named is None:
            return ruleset(self._settings, bridges, resolvers(), gateway=_OF_DOCKER not in _interfaces())
        return ruleset(self._settings, bridges, self._settings.named_resolvers, gateway=GATEWAY in named)


def resolvers(path: Path = _RESOLV_CONF, behind: Path = _SYSTEMD_RESOLV_CONF) -> Sequence[Address]:
    """Return the name servers that containers are given, or that their engine asks in their name.

    Those on loopback are left out: the engine asks them from the machine's own network, and no packet of a
    container's is seen (found with Docker 20.10).
    """
    named = list(_nameservers(path))
    if any(each.is_loopback for each in named):
        named += _nameservers(behind)
    return list(dict.fromkeys(each for each in named if not each.is_loopback and not each.is_link_local))


def _nameservers(path: Path) -> Iterator[Address]:
    for word in _NAMESERVER.findall(_text(path)):
        with contextlib.suppress(ValueError):  # resolvers skip what is no address, and so do engines
            yield ipaddress.ip_address(word)


def _gaps() -> Iterator[tuple[str, bool]]:
    """Yield what rules can't close, with what to do about it, and whether it is certain to be open."""
    for family, setting in (("IPv4", "bridge-nf-call-iptables"), ("IPv6", "bridge-nf-call-ip6tables")):
        of_old = family == "IPv4"
        if _text(_BRIDGED / setting).strip() != "1" and (of_old or _IPV6.exists()):
            told = f"containers reach each other over {family}, unless their engine forbids it: "
            told += f"load the module br_netfilter and set net.bridge.{setting} to 1"
            yield told, of_old  # engines give IPv6 only to networks that ask for it


def _absent(bridges: Sequence[str]) -> Sequence[str]:
    return [bridge for bridge in bridges if bridge not in _interfaces()]


def _interfaces() -> Sequence[str]:
    return [name for _, name in socket.if_nameindex()]


def _text(path: Path) -> str:
    """Return what a file says; nothing if it can't be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
