"""Keeping the engine's containers and the invoker's the same: what an earlier life left, what got lost on the way."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from invoker_docker.answers import EngineError
from invoker_docker.container import DockerContainer
from invoker_docker.disposal import AT_ONCE, Disposal
from invoker_docker.engine import Engine
from invoker_docker.health import Health
from invoker_docker.ownership import Owner

logger = logging.getLogger("invoker.docker")


async def sweep(engine: Engine, owner: Owner) -> Sequence[str]:
    """Remove all containers of this invoker that nobody has in charge; return the names of those that are gone.

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

    found = dict(_owned(owner, await engine.containers(owner.mark)))
    swept = await asyncio.gather(*(remove(name, identifier) for name, identifier in found.items()))
    return [name for name in swept if name is not None]


class Upkeep:
    """Compares, again and again. Owns nothing: `known` is the runtime's."""

    def __init__(
        self,
        engine: Engine,
        owner: Owner,
        health: Health,
        disposal: Disposal,
        known: dict[str, DockerContainer | None],
    ) -> None:
        """`known` has every name of which something may be there, with `None` while it is being created or removed."""
        self._engine = engine
        self._owner = owner
        self._health = health
        self._disposal = disposal
        self._known = known

    async def run(self, interval: float) -> None:
        """Reconcile, for ever: each `interval` seconds, and at once when the engine has come back."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._health.recovered.wait()
            self._health.recovered.clear()
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
        before = [container for container in self._known.values() if container is not None]
        found = dict(_owned(self._owner, await self._engine.containers(self._owner.mark)))
        for name, identifier in found.items():
            if name not in self._known:
                logger.warning("%s is this invoker's and of no use: it is removed", name)
                self._known[name] = None
                self._disposal.remove(identifier, name)
        for container in before:
            if container.name not in found and self._known.get(container.name) is container:
                logger.warning("%s has been removed by somebody else", container.name)
                container.vanished()


def _owned(owner: Owner, summaries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Return name and id of the containers that are the owner's."""
    for summary in summaries:
        for name in summary.get("Names") or ():
            bare = str(name).removeprefix("/")
            if owner.owns(bare, summary.get("Labels")):
                yield bare, str(summary["Id"])
