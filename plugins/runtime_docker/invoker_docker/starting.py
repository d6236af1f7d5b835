"""Starting one container: created, attached, started, looked at; or nothing is left of it."""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import Any, Final

from invoker.contracts import Output
from invoker.entities.container import ContainerSpec
from invoker.errors import SettingsError, StartFailed
from invoker_docker.answers import EngineDown, EngineError
from invoker_docker.container import DockerContainer
from invoker_docker.creation import create_request
from invoker_docker.failures import name_is_taken, something_is_missing, start_failure
from invoker_docker.images import Images
from invoker_docker.names import Names
from invoker_docker.network import network_for
from invoker_docker.output import attached
from invoker_docker.ownership import Owner
from invoker_docker.settings import DockerSettings
from invoker_docker.site import Site

NAMES: Final = 4
"""Names that are tried for one container."""
CLEANING: Final = 5.0
"""Seconds for which a start that failed or was cancelled waits for its container to be gone; it goes on without."""
_SUFFIX_BYTES: Final = 3

logger = logging.getLogger("invoker.docker")


class Starter:
    """Starts containers. A name is known from before the create call until nothing is left under it."""

    def __init__(
        self,
        *,
        settings: DockerSettings,
        pool_memory: int,
        owner: Owner,
        site: Site,
        images: Images,
        names: Names,
    ) -> None:
        """`pool_memory` is what all containers have together, in bytes; `names` are the runtime's."""
        self._settings = settings
        self._pool_memory = pool_memory
        self._owner = owner
        self._site = site
        self._images = images
        self._names = names

    async def start(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        """Start a container, under its name or, if a stranger has it, another.

        Raises:
            StartFailed: with whose fault it is.
        """
        try:
            return await self._attempt(spec, output)
        except EngineError as error:
            if not something_is_missing(error):
                raise self._failure(error, spec) from error
            missing = error
        logger.warning("%s: %s: what is missing is looked for again", spec.name, missing.message)
        try:
            await self._images.ensure(spec.runtime)
            await network_for(self._site.engine, self._settings)
            return await self._attempt(spec, output)
        except EngineError as error:
            raise self._failure(error, spec) from error
        except SettingsError as error:  # another network has taken its place meanwhile
            raise StartFailed(str(error)) from error

    def _failure(self, error: EngineError, spec: ContainerSpec) -> StartFailed:
        self._site.health.doubt(error)
        return start_failure(error, spec.runtime)

    async def _attempt(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        name, identifier = await self._created(spec)
        container = DockerContainer(name, identifier, spec.memory, self._site)
        engine = self._site.engine
        tentative = _TentativeOutput(output)
        try:
            limit = self._settings.start_timeout  # podman does half of the start here
            container.listen(await attached(engine, identifier, tentative, container.output_ended, timeout=limit))
            await engine.start(identifier)
            container.begin(await engine.inspect(identifier), self._settings.network)
        except BaseException as error:
            cleaning = self._site.tasks.create_task(container.remove(), name=f"clean-up of {name}")
            if not isinstance(error, EngineDown):
                await asyncio.wait({cleaning}, timeout=CLEANING)
            raise
        self._names.give(container)
        tentative.accept()
        return container

    async def _created(self, spec: ContainerSpec) -> tuple[str, str]:
        """Return name and id of a container that was created."""
        name = spec.name
        for _ in range(NAMES):
            try:
                return name, await self._create(name, spec)
            except EngineError as error:
                if not name_is_taken(error):
                    raise
            name = await self._next_name(name, spec)
        raise StartFailed(f"{spec.name}: all of {NAMES} names are taken")

    async def _next_name(self, name: str, spec: ContainerSpec) -> str:
        """Free a name that an earlier container of ours still has; from a stranger's, go elsewhere.

        So from another life's: those were swept, so that another invoker of this identity may live (see `ownership`).
        """
        try:
            holder = await self._site.engine.inspect(name)
            labels = (holder.get("Config") or {}).get("Labels")
            if self._owner.owns(name, labels) and not self._owner.of_another_life(labels):
                await self._site.engine.remove(str(holder["Id"]))
                return name
        except EngineDown:
            raise
        except EngineError:  # gone meanwhile, or half gone
            return name
        other = f"{spec.name}-{secrets.token_hex(_SUFFIX_BYTES)}"
        logger.warning("the name %s is taken by a stranger's container: %s is used instead", name, other)
        return other

    async def _create(self, name: str, spec: ContainerSpec) -> str:
        """Create a container. Once it is asked for, the answer is waited for, so that nothing comes of it unseen.

        Where there is no answer, a container may come of it all the same: it is ours and unknown, so that
        reconciliation removes it.
        """
        labels = self._owner.labels(name, spec)
        request = create_request(
            spec,
            self._settings,
            pool_memory=self._pool_memory,
            labels=labels,
            podman=self._site.engine.kind.podman,
        )
        self._names.claim(name)
        creation = self._site.tasks.create_task(self._answer(name, request), name=f"creation of {name}")
        try:
            await asyncio.wait({creation})
        except asyncio.CancelledError:
            cleaning = self._site.tasks.create_task(self._undo(name, creation), name=f"clean-up of {name}")
            await asyncio.wait({cleaning}, timeout=CLEANING)
            raise
        answer = creation.result()
        if isinstance(answer, EngineError):
            self._names.free(name)
            raise answer
        return answer

    async def _answer(self, name: str, request: Mapping[str, Any]) -> str | EngineError:
        """Return an id, or why there is none: a task of a group must not fail."""
        try:
            return await self._site.engine.create(name, request)
        except EngineError as error:
            return error

    async def _undo(self, name: str, creation: asyncio.Task[str | EngineError]) -> None:
        await asyncio.wait({creation})
        answer = creation.result()
        if isinstance(answer, str):
            await asyncio.wait({self._site.disposal.remove(answer, name)})
        else:
            self._names.free(name)


class _TentativeOutput:
    """The output of a container that may not come to be: then another is tried, and the end of this one is no end."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._accepted = False
        self._ended = False
        self.write = output.write

    def accept(self) -> None:
        """It is the one."""
        self._accepted = True
        if self._ended:
            self._output.closed()

    def closed(self) -> None:
        """See `Output`."""
        self._ended = True
        if self._accepted:
            self._output.closed()
