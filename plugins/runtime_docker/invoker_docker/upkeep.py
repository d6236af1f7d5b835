"""Keeping the engine's containers and the invoker's the same: what an earlier life left, what got lost on the way."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from invoker_docker.answers import EngineError
from invoker_docker.disposal import AT_ONCE, Disposal
from invoker_docker.engine import Engine
from invoker_docker.health import Health
from invoker_docker.names import Names
from invoker_docker.ownership import BOOT_LABEL, Owner

_UNBORN: Final = ("created", "configured", "initialized")
"""States before the start; the others are podman's."""

logger = logging.getLogger("invoker.docker")


class Swept(msgspec.Struct, frozen=True):
    """What was found, and what is gone of it."""

    found: frozenset[str]
    """Ids of all."""
    names: Sequence[str]
    """Of those that are gone."""


async def sweep(engine: Engine, owner: Owner, *, this_life: bool = False) -> Swept:
    """Remove all containers of this invoker that nobody has in charge, or those of `this_life` only.

    One that the engine won't remove is left to reconciliation.

    Raises:
        EngineDown: the engine doesn't answer.
        EngineError: it doesn't tell its containers.
    """
    slots = asyncio.Semaphore(AT_ONCE)

    async def remove(name: str, identifier: str) -> str | None:
        async with slots:
            try:
                await engine.remove(identifier)
            except EngineError as error:
                logger.warning("%s, which is of no use, can't be removed yet: %s", name, error)
                return None
        return name

    owned = _owned(owner, await engine.containers(owner.mark))
    found = {one.name: one.id for one in owned if not (this_life and one.of_another_life)}
    swept = await asyncio.gather(*(remove(name, identifier) for name, identifier in found.items()))
    return Swept(frozenset(found.values()), [name for name in swept if name is not None])


class Upkeep:
    """Compares, again and again. Owns nothing: `names` are the runtime's."""

    def __init__(
        self,
        engine: Engine,
        owner: Owner,
        health: Health,
        disposal: Disposal,
        names: Names,
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._health = health
        self._disposal = disposal
        self._names = names
        self.leftovers: frozenset[str] = frozenset()
        """Ids of what was there before: an earlier life's."""
        self._rivals: frozenset[str] = frozenset()
        """Lives of other invokers with this identity that had containers at the last look."""

    async def run(self, interval: float) -> None:
        """Reconcile, for ever: each `interval` seconds, and at once when the engine has come back."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._health.recovery()
            try:
                await self.reconcile()
            except EngineError as error:
                self._health.doubt(error)
                logger.warning("containers can't be compared with the engine's: %s", error)

    async def reconcile(self) -> None:
        """Remove what is ours and unknown; give up what is known and gone.

        Names are known before anything is created, so what is unknown now was so when the engine was asked. What was
        known before it was asked, and isn't there, is gone.

        Raises:
            EngineError: the engine doesn't tell its containers.
        """
        before = self._names.containers()
        found = list(_owned(self._owner, await self._engine.containers(self._owner.mark)))
        alive = self._alive(found)
        for one in found:
            if one.name not in self._names and one not in alive:
                logger.warning("%s is this invoker's and of no use: it is removed", one.name)
                self._names.claim(one.name)
                self._disposal.remove(one.id, one.name)
        names = {one.name for one in found if one not in alive}
        for container in before:
            if container.name not in names and self._names.has(container):
                logger.warning("%s has been removed by somebody else", container.name)
                container.vanished()
        self._complain(alive)

    def _alive(self, found: Sequence["_Owned"]) -> Sequence["_Owned"]:
        """Return what belongs to another invoker that lives; one container of its that was started betrays them all."""
        others = [one for one in found if one.of_another_life and one.id not in self.leftovers]
        return others if any(one.started for one in others) else ()

    def _complain(self, alive: Sequence["_Owned"]) -> None:
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


class _Owned(msgspec.Struct, frozen=True):
    """A container with the owner's identity."""

    name: str
    id: str
    boot: str
    of_another_life: bool
    started: bool
    """Whether it ever was."""


def _owned(owner: Owner, summaries: Sequence[Mapping[str, Any]]) -> Iterator[_Owned]:
    for summary in summaries:
        labels = summary.get("Labels") or {}
        for name in summary.get("Names") or ():
            bare = str(name).removeprefix("/")
            if owner.owns(bare, labels):
                yield _Owned(
                    name=bare,
                    id=str(summary["Id"]),
                    boot=str(labels.get(BOOT_LABEL)),
                    of_another_life=owner.of_another_life(labels),
                    started=summary.get("State") not in _UNBORN,
                )
