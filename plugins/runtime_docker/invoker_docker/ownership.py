"""Whose containers are whose: labels on the engine, a lock on this machine, and what is done about strays.

The lock is in the state directory. Two invokers of one identity with different state directories, such as those of two
users, don't see each other's; only the engine knows of both. What can be told there:

* Who sweeps, because it is about to run, removes whatever has its identity: containers of another that lives look like
  those that a killed one has left. That can happen once for each sweep; who merely looks removes nothing.
* What comes later with its identity, not of this life and running, is another's that lives. **It is left alone**: would
  each remove the other's, both lost every container once a minute. So both work, and both complain until one is given a
  name. Nor does either free a name that the other's container has, or remove the other's at its end. What such another
  leaves when it is killed stays until either sweeps again.
* One that was created and never started is removed: it came of a call that a killed invoker had made before this one
  swept. If it is another's after all, that one's start is tried again.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from invoker.config import NodeSettings, state_dir
from invoker.entities.container import ContainerSpec
from invoker.errors import Occupied, SettingsError
from invoker_docker.container import ContainersByName, Removals
from invoker_docker.engine import EngineClient
from invoker_docker.failures import EngineError
from invoker_docker.health import EngineHealth
from invoker_docker.settings import LABEL_PREFIX

OWNER_LABEL: Final = f"{LABEL_PREFIX}owner"
NAME_LABEL: Final = f"{LABEL_PREFIX}name"
BOOT_LABEL: Final = f"{LABEL_PREFIX}boot"
_UNBORN: Final = ("created", "configured", "initialized")
"""States before the start; the others are podman's."""

logger = logging.getLogger("invoker.docker")


class Owner(msgspec.Struct, frozen=True):
    """One invoker in one of its lives."""

    identity: str
    """The same in all its lives, and nobody else's: `3`, or `3/node-b` where it has a unique name."""
    boot: str
    """This life."""

    def labels(self, name: str, spec: ContainerSpec) -> dict[str, str]:
        """Return the labels of a container that is created as `name`."""
        labels = {
            OWNER_LABEL: self.identity,
            BOOT_LABEL: self.boot,
            NAME_LABEL: name,
            f"{LABEL_PREFIX}runtime": spec.runtime.kind,
            f"{LABEL_PREFIX}namespace": spec.namespace,
            f"{LABEL_PREFIX}action": spec.action,
        }
        return {label: value for label, value in labels.items() if value}

    def owns(self, name: str, labels: Mapping[str, Any]) -> bool:
        """Whether a container is its own.

        An image may have labels, too, which its containers inherit: a stranger's container can have got our owner label
        so, but not its own name.
        """
        return labels.get(OWNER_LABEL) == self.identity and labels.get(NAME_LABEL) == name

    def of_another_life(self, labels: Mapping[str, Any]) -> bool:
        """Whether a container of its own comes from another life: it doesn't say that it comes from this one."""
        return labels.get(BOOT_LABEL) != self.boot


def identity(node: NodeSettings) -> str:
    """Return what an invoker is known by."""
    return str(node.id) if node.unique_name is None else f"{node.id}/{node.unique_name}"


@contextlib.contextmanager
def owning(node: NodeSettings) -> Iterator[Owner]:
    """Be the only one with this identity on this machine, for as long as the context lasts.

    The lock ends with the process, however that ends; the file stays.

    Raises:
        Occupied: another process has the lock.
        SettingsError: the state directory can't be used.
    """
    owner = Owner(identity(node), secrets.token_hex(8))
    path = state_dir(node) / f"docker-{quote(owner.identity, safe='')}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError([f"node.state_dir: can't open {path}: {error.strerror}"]) from error
    try:
        _lock(descriptor, path, owner)
        yield owner
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, owner: Owner) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        fault = (
            f"node.id: another invoker that is {owner.identity!r} has locked {path} (process {holder or 'unknown'}): "
            "each would remove the other's containers. Stop it, or give this one a node.unique_name that no other has"
        )
        raise Occupied(fault, holder=int(holder) if holder.isdecimal() else None) from None
    except OSError as error:
        raise SettingsError([f"node.state_dir: can't lock {path}: {error.strerror}"]) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)


class OwnedContainer(msgspec.Struct, frozen=True):
    """A container with the owner's identity, as the engine lists it."""

    name: str
    id: str
    boot: str
    of_another_life: bool
    started: bool
    """Whether it ever was."""


class Reconciler:
    """Keeps the engine's containers and the invoker's the same, from `sweep` on: before that nothing is removed.

    `names` are the runtime's.
    """

    def __init__(
        self, engine: EngineClient, owner: Owner, health: EngineHealth, removals: Removals, names: ContainersByName
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._health = health
        self._removals = removals
        self._names = names
        self._swept = asyncio.Event()
        self._leftovers: frozenset[str] = frozenset()
        """Ids of what was there when it swept: an earlier life's."""
        self._rivals: frozenset[str] = frozenset()
        """Lives of other invokers with this identity that had containers at the last look."""

    async def sweep(self) -> Sequence[str]:
        """Remove what other lives of this invoker have left; return the names of what is gone.

        One that the engine won't remove is left to reconciliation.

        Raises:
            EngineError: the engine doesn't tell its containers.
        """
        left = [one for one in await self._owned() if one.of_another_life]
        self._leftovers = frozenset(one.id for one in left)
        names = await self._remove(left)
        self._swept.set()
        return names

    async def remove_strays(self) -> Sequence[str]:
        """Remove what is left of this life when all that is known has been removed; return the names of what is gone.

        It came of calls that had no answer, or could not be removed before.

        Raises:
            EngineError: the engine doesn't tell its containers.
        """
        return await self._remove([one for one in await self._owned() if not one.of_another_life])

    async def watch(self, interval: float) -> None:
        """Once it has swept, compare for ever: each `interval` seconds, and at once when the engine has come back."""
        await self._swept.wait()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._health.recovery()
            try:
                await self.reconcile()
            except EngineError as error:
                logger.warning("containers can't be compared with the engine's: %s", error)

    async def reconcile(self) -> None:
        """Remove what is ours and unknown; give up what is known and gone.

        Names are known before anything is created, so what is unknown now was so when the engine was asked. What was
        known before it was asked, and isn't there, is gone.

        Raises:
            EngineError: the engine doesn't tell its containers.
        """
        before = [container for container in self._names.values() if container is not None]
        owned = await self._owned()
        alive = self._alive(owned)
        for one in owned:
            if one.name not in self._names and one not in alive:
                logger.warning("%s is this invoker's and of no use: it is removed", one.name)
                self._names[one.name] = None
                self._removals.remove(one.id, one.name)
        there = {one.name for one in owned if one not in alive}
        for container in before:
            if container.name not in there and self._names.get(container.name) is container:
                logger.warning("%s has been removed by somebody else", container.name)
                container.vanished()
        self._complain(alive)

    async def _owned(self) -> Sequence[OwnedContainer]:
        """Ask for everything on the engine that has the owner's identity."""
        return [
            OwnedContainer(
                name=name,
                id=str(summary["Id"]),
                boot=str(labels.get(BOOT_LABEL)),
                of_another_life=self._owner.of_another_life(labels),
                started=summary.get("State") not in _UNBORN,
            )
            for summary in await self._engine.containers({OWNER_LABEL: self._owner.identity})
            for labels in (summary.get("Labels") or {},)
            for name in (str(each).removeprefix("/") for each in summary.get("Names") or ())
            if self._owner.owns(name, labels)
        ]

    async def _remove(self, owned: Sequence[OwnedContainer]) -> Sequence[str]:
        gone = await asyncio.gather(*(self._removals.attempt(one.id, one.name) for one in owned))
        return [one.name for one, removed in zip(owned, gone, strict=True) if removed]

    def _alive(self, owned: Sequence[OwnedContainer]) -> Sequence[OwnedContainer]:
        """Return what belongs to another invoker that lives; one container of its that was started betrays them all."""
        others = [one for one in owned if one.of_another_life and one.id not in self._leftovers]
        return others if any(one.started for one in others) else ()

    def _complain(self, alive: Sequence[OwnedContainer]) -> None:
        """Tell of another invoker with this identity: loudly once, and at each look as long as it is there."""
        rivals = frozenset(one.boot for one in alive)
        names = ", ".join(sorted(one.name for one in alive))
        if rivals - self._rivals:
            logger.error(
                "another invoker that calls itself %r uses this engine, and each removes the other's containers as it "
                "starts: give one of them a node.unique_name or node.id of its own. If none runs any more, start this "
                "one again to have these removed: %s",
                self._owner.identity,
                names,
            )
        elif rivals:
            logger.warning("there is still another invoker that calls itself %r: %s", self._owner.identity, names)
        elif self._rivals:
            logger.info("no other invoker that calls itself %r has containers any more", self._owner.identity)
        self._rivals = rivals
