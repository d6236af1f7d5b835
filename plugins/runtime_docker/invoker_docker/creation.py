"""Containers from the call of the core until they run: created, attached, started, looked at; or nothing is left."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from invoker import Settings
from invoker.config import PoolSettings
from invoker.contracts import Output
from invoker.entities.container import ContainerSpec
from invoker.errors import SettingsError, StartFailed
from invoker_docker.container import ContainersByName, DockerContainer, Removals
from invoker_docker.create_request import create_request
from invoker_docker.engine import EngineClient
from invoker_docker.failures import EngineDown, EngineError, name_is_taken, something_is_missing, start_failure
from invoker_docker.health import EngineHealth
from invoker_docker.images import EngineImages
from invoker_docker.network import ContainerNetwork
from invoker_docker.ownership import Owner
from invoker_docker.settings import DockerSettings

NAMES: Final = 4
"""Names that are tried for one container."""
CLEANING: Final = 5.0
"""Seconds for which a start that failed or was cancelled waits for its container to be gone; it goes on without."""
_SUFFIX_BYTES: Final = 3

logger = logging.getLogger("invoker.docker")


class ContainerFactory:
    """Creates containers, and knows of all that there are. Their names are the runtime's: see `ContainersByName`."""

    def __init__(
        self,
        settings: Settings,
        engine: EngineClient,
        owner: Owner,
        network: ContainerNetwork,
        health: EngineHealth,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings[DockerSettings]
        self._pool_memory = int(settings[PoolSettings].memory)
        self._engine = engine
        self._owner = owner
        self._network = network
        self._health = health
        self._tasks = tasks
        self._slots = asyncio.Semaphore(self._settings.parallel_creates)
        self.names: ContainersByName = {}
        self.images = EngineImages(engine, self._settings, tasks)
        self.removals = Removals(engine, health, tasks, lambda name: self.names.pop(name, None))
        self.waiting = 0
        """Containers whose image is there and that wait until fewer others are being created."""
        self.creating = 0
        """Containers that are being created and started now."""

    async def create(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        """Start a container, under its name or, if a stranger has it, another.

        At most `docker.parallel_creates` are under way, the others wait in the order in which their images were there.

        Raises:
            StartFailed: with whose fault it is.
            NoRoom: what it needs is used up by others.
        """
        if spec.name in self.names:
            raise StartFailed(f"there is a container {spec.name} already")
        self.names[spec.name] = None
        with contextlib.ExitStack() as unbegun:
            unbegun.callback(self.names.pop, spec.name)
            try:
                await self.images.ensure(spec.runtime)
                async with self._slot():
                    self._health.check()
                    unbegun.pop_all()  # from here on it is known how to get rid of it
                    return await self._start(spec, output)
            except EngineError as error:
                raise start_failure(error, spec.runtime) from error
            except SettingsError as error:  # another network has taken its place meanwhile
                raise StartFailed(str(error)) from error

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.creating += 1
        try:
            yield
        finally:
            self.creating -= 1
            self._slots.release()

    async def _start(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        await self._network.ensure()
        try:
            return await self._attempt(spec, output)
        except EngineError as error:
            if not something_is_missing(error):
                raise
            logger.warning("%s: %s: what is missing is looked for again", spec.name, error.message)
        await self.images.ensure(spec.runtime)
        await self._network.ensure(again=True)
        return await self._attempt(spec, output)

    async def _attempt(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        name, identifier = await self._created(spec)
        container = DockerContainer(name, identifier, output, spec.memory, self._engine, self.removals)
        try:  # podman does half of the start as it attaches
            await container.start(self._settings.network, attach_timeout=self._settings.start_timeout)
        except BaseException as error:
            cleaning = self._tasks.create_task(container.remove(), name=f"clean-up of {name}")
            if not isinstance(error, EngineDown):
                await asyncio.wait({cleaning}, timeout=CLEANING)
            raise
        self.names[name] = container
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
        """Free a name that an earlier container of this life still has; from anybody else's, go elsewhere.

        So from another life's: those were swept, so that another invoker of this identity may live (see `ownership`).
        """
        try:
            holder = await self._engine.inspect(name)
            labels = (holder.get("Config") or {}).get("Labels") or {}
            if self._owner.owns(name, labels) and not self._owner.of_another_life(labels):
                await self._engine.remove(str(holder["Id"]))
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
        request = create_request(
            spec,
            self._settings,
            pool_memory=self._pool_memory,
            labels=self._owner.labels(name, spec),
            podman=self._engine.info.podman,
        )
        self.names[name] = None
        creation = self._tasks.create_task(self._answer(name, request), name=f"creation of {name}")
        try:
            answer = await asyncio.shield(creation)
        except asyncio.CancelledError:
            cleaning = self._tasks.create_task(self._undo(name, creation), name=f"clean-up of {name}")
            await asyncio.wait({cleaning}, timeout=CLEANING)
            raise
        if isinstance(answer, EngineError):
            self.names.pop(name, None)
            raise answer
        return answer

    async def _answer(self, name: str, request: Mapping[str, Any]) -> str | EngineError:
        """Return an id, or why there is none: a task of a group must not fail."""
        try:
            return await self._engine.create(name, request)
        except EngineError as error:
            return error

    async def _undo(self, name: str, creation: asyncio.Task[str | EngineError]) -> None:
        await asyncio.wait({creation})
        answer = creation.result()
        if isinstance(answer, str):
            await asyncio.wait({self.removals.remove(answer, name)})
        else:
            self.names.pop(name, None)
