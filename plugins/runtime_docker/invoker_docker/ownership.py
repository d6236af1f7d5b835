"""Whose containers are whose: labels on the engine, a lock on this machine, and what is done about strays.

The lock is in the state directory, and so is what the containers of all lives there have in a label, their *home*. Who
holds the lock knows that the lives before it have ended: what they left is removed.

Two invokers of one identity with different state directories don't see each other's lock. What has another home may be
of one that lives: it is **left alone**, running or not, and told by name; only `invoker reap --force` removes it.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from invoker.config import NodeSettings, state_dir
from invoker.entities.container import ContainerSpec
from invoker.errors import Occupied, SettingsError
from invoker_docker.container import EVENTS, ContainersByName, Removals
from invoker_docker.engine import Answer, EngineClient
from invoker_docker.failures import EngineError
from invoker_docker.health import EngineHealth
from invoker_docker.settings import LABEL_PREFIX

OWNER_LABEL: Final = f"{LABEL_PREFIX}owner"
NAME_LABEL: Final = f"{LABEL_PREFIX}name"
HOME_LABEL: Final = f"{LABEL_PREFIX}home"
BOOT_LABEL: Final = f"{LABEL_PREFIX}boot"
_PID: Final = 16  # bytes of the first line in the lock's file: the holder's number
_HOME: Final = 16  # and of what follows

logger = logging.getLogger("invoker.docker")


class Owner(msgspec.Struct, frozen=True):
    """One invoker in one of its lives."""

    identity: str  # the same in all its lives: `3`, or `3/node-b` where it has a unique name
    home: str  # the same in all its lives, and nobody else's
    boot: str  # this life

    def labels(self, name: str, spec: ContainerSpec) -> dict[str, str]:
        """Return the labels of a container that is created as `name`."""
        labels = {
            OWNER_LABEL: self.identity,
            HOME_LABEL: self.home,
            BOOT_LABEL: self.boot,
            NAME_LABEL: name,
            f"{LABEL_PREFIX}runtime": spec.runtime.kind,
            f"{LABEL_PREFIX}namespace": spec.namespace,
            f"{LABEL_PREFIX}action": spec.action,
        }
        return {label: value for label, value in labels.items() if value}


def identity(node: NodeSettings) -> str:
    """Return what an invoker is known by."""
    return str(node.id) if node.unique_name is None else f"{node.id}/{node.unique_name}"


@contextlib.contextmanager
def owning(node: NodeSettings) -> Iterator[Owner]:
    """Be the only one with this identity in this state directory. The lock ends with the process; the file stays.

    Raises:
        Occupied: another process has the lock.
        SettingsError: the state directory can't be used.
    """
    mine = identity(node)
    path = state_dir(node) / f"docker-{quote(mine, safe='')}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError([f"node.state_dir: can't open {path}: {error.strerror}"]) from error
    try:
        yield Owner(mine, _locked(descriptor, path, mine), secrets.token_hex(8))
    finally:
        os.close(descriptor)


def _locked(descriptor: int, path: Path, mine: str) -> str:
    """Lock the file and return the home that is in it: a line of its own, below the process of its holder."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, _PID, 0).decode("ascii", "replace").strip()
        fault = (
            f"node.id: another invoker that is {mine!r} has locked {path} (process {holder or 'unknown'}): "
            "each would remove the other's containers. Stop it, or give this one a node.unique_name that no other has"
        )
        raise Occupied(fault, holder=int(holder) if holder.isdecimal() else None) from None
    except OSError as error:
        raise SettingsError([f"node.state_dir: can't lock {path}: {error.strerror}"]) from error
    found = os.pread(descriptor, _HOME, _PID).decode("ascii", "replace").strip()
    home = found or secrets.token_hex(_HOME // 2)
    os.pwrite(descriptor, f"{os.getpid():<{_PID - 1}}\n{home}".encode(), 0)
    return home


class OwnedContainer(msgspec.Struct, frozen=True):
    """A container with the owner's identity, as the engine lists it."""

    name: str
    id: str
    home: str
    boot: str | None


class Reconciler:
    """Keeps the engine's containers and the invoker's the same, from `sweep` on: before that nothing is removed."""

    def __init__(
        self, engine: EngineClient, owner: Owner, health: EngineHealth, removals: Removals, names: ContainersByName
    ) -> None:
        """`names` are the runtime's."""
        self._engine = engine
        self._owner = owner
        self._health = health
        self._removals = removals
        self._names = names
        self._swept = asyncio.Event()
        self._rivals: frozenset[str] = frozenset()  # other homes of this identity, at the last look

    async def sweep(self, *, force: bool = False) -> Sequence[str]:
        """Remove what other lives of this invoker have left, by `force` other homes, too; return the names.

        What the engine won't remove is left to reconciliation. Raises `EngineError`, like all that asks for containers.
        """
        ours, others = await self._owned()
        if not force:
            self._complain(others)
        left = [one for one in ours if one.boot != self._owner.boot]
        names = await self._remove([*left, *others] if force else left)
        self._swept.set()
        return names

    async def remove_strays(self) -> Sequence[str]:
        """Remove what calls without an answer have left of this life, at its end; return the names of what is gone."""
        ours, _ = await self._owned()
        return await self._remove([one for one in ours if one.boot == self._owner.boot])

    async def watch(self) -> None:
        """Once it has swept, compare for ever: now and then, and at once when the engine has come back."""
        await self._swept.wait()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._engine.settings.reconcile_interval):
                    await self._health.recovery()
            try:
                await self.reconcile()
            except EngineError as error:
                logger.warning("containers can't be compared with the engine's: %s", error)

    async def follow(self) -> None:
        """Have containers learn at once of what happens to them, for ever."""
        while True:
            with contextlib.suppress(EngineError):  # whether the engine lives is found out elsewhere
                await self._engine.events(EVENTS, self._happened)
            await asyncio.sleep(self._engine.settings.ping_interval)

    def _happened(self, event: Answer) -> None:
        actor = event.get("Actor") or {}  # of a network's event Docker's is the network, and podman's the container
        identifier = (actor.get("Attributes") or {}).get("container") or actor.get("ID")
        for container in self._names.values():
            if container is not None and container.id == identifier:
                container.happened(str(event.get("Action")))

    async def reconcile(self) -> None:
        """Remove what is ours and unknown; give up what is known and gone.

        Names are known before anything is created, so what is unknown now was so when the engine was asked. What was
        known before it was asked, and isn't there, is gone.
        """
        before = [container for container in self._names.values() if container is not None]
        ours, others = await self._owned()
        for one in ours:
            if one.name not in self._names:
                logger.warning("%s is this invoker's and of no use: it is removed", one.name)
                self._names[one.name] = None
                self._removals.remove(one.id, one.name)
        there = {one.name for one in ours}
        for container in before:
            if container.name not in there and self._names.get(container.name) is container:
                logger.warning("%s has been removed by somebody else", container.name)
                container.vanished()
        self._complain(others)

    async def _owned(self) -> tuple[Sequence[OwnedContainer], Sequence[OwnedContainer]]:
        """Return everything on the engine that has the owner's identity: what has its home, and the rest.

        Labels may be those of an image, which its containers inherit; but for a container's own name.
        """
        ours: list[OwnedContainer] = []
        others: list[OwnedContainer] = []
        for summary in await self._engine.containers({OWNER_LABEL: self._owner.identity}):
            labels = summary.get("Labels") or {}
            for name in (str(each).removeprefix("/") for each in summary.get("Names") or ()):
                if labels.get(NAME_LABEL) == name:
                    one = OwnedContainer(name, str(summary["Id"]), str(labels.get(HOME_LABEL)), labels.get(BOOT_LABEL))
                    (ours if one.home == self._owner.home else others).append(one)
        return ours, others

    async def _remove(self, owned: Sequence[OwnedContainer]) -> Sequence[str]:
        gone = await asyncio.gather(*(self._removals.attempt(one.id, one.name) for one in owned))
        return [one.name for one, removed in zip(owned, gone, strict=True) if removed]

    def _complain(self, others: Sequence[OwnedContainer]) -> None:
        """Tell of other invokers with this identity, once."""
        rivals = frozenset(one.home for one in others)
        if rivals - self._rivals:
            logger.error(
                "another invoker that calls itself %r, with another node.state_dir, has containers on this engine; "
                "they are left alone: give one of the two a node.unique_name or node.id of its own. If the other runs "
                "no more, `invoker reap --force` removes them: %s",
                self._owner.identity,
                ", ".join(sorted(one.name for one in others)),
            )
        self._rivals = rivals
