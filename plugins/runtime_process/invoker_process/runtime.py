"""Containers that are child processes: the shortest way from an action to its result, and no wall around it."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from invoker import Settings
from invoker.contracts import ContainerRuntime, Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError, StartFailed
from invoker_process.container import ProcessContainer
from invoker_process.frames import Spawn
from invoker_process.interpreters import Interpreters, installed
from invoker_process.settings import ProcessSettings
from invoker_process.warden_client import Charge, WardenClient

LANGUAGE: Final = "C.UTF-8"

logger = logging.getLogger("invoker.process")


@asynccontextmanager
async def process_runtime(settings: Settings) -> AsyncIterator["ProcessRuntime"]:
    """Run a runtime; leaving ends every process of every container.

    Raises:
        SettingsError: an interpreter or the work directory can't be used.
        StartFailed: no warden could be started.
    """
    chosen = settings[ProcessSettings]
    interpreters = await installed(chosen)
    runtime = ProcessRuntime(chosen, interpreters)
    await runtime.open()
    logger.warning("actions run as child processes, and nothing keeps a hostile one from this user's files")
    async with asyncio.TaskGroup() as runtime.tasks:  # only now, for a group wraps what is raised on entering
        try:
            yield runtime
        finally:
            await runtime.close()


class ProcessRuntime(ContainerRuntime):
    """Starts containers by way of the warden. Owns the warden, and its successor should it be killed."""

    tasks: asyncio.TaskGroup
    """Where the one task runs that there may be: the start of another warden."""

    def __init__(self, settings: ProcessSettings, interpreters: Interpreters) -> None:
        self._settings = settings
        self._interpreters = interpreters
        self._environment = {"PATH": interpreters.search_path, "LANG": LANGUAGE}
        self._numbers = itertools.count(1)
        self._names: set[str] = set()
        """Of containers of which something may be left."""
        self._warden: WardenClient | None = None
        self._replacing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the warden, which removes what an earlier one may have left."""
        self._warden = await WardenClient.start(self._settings, self._on_death)

    async def close(self) -> None:
        """Remove every container, and the warden."""
        while self._replacing is not None:
            await asyncio.wait({self._replacing})
        if not await self._dismiss():  # it was killed on the way: another ends what it left
            await self._replace(None, ())
            await self._dismiss()

    @property
    def warden_pid(self) -> int:
        """Number of the warden's process; 0 if there is none at the moment."""
        return self._warden.pid if self._warden is not None else 0

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`."""
        return self._interpreters.runtimes()

    async def create(self, spec: ContainerSpec, output: Output) -> ProcessContainer:
        """See `ContainerRuntime`. Takes one round trip to the warden."""
        argv = self._interpreters.command(spec.runtime)
        if spec.name in self._names:
            raise StartFailed(f"there is a container {spec.name} already")
        self._names.add(spec.name)
        try:
            warden = await self._serving()
        except BaseException:
            self._names.discard(spec.name)
            raise
        ward = next(self._numbers)
        container = ProcessContainer(spec.name, ward, warden, output, self._names.discard)
        try:
            descriptors = container.descriptors()
        except OSError as error:
            container.gone()
            raise StartFailed(f"{spec.name}: {error.strerror or error}") from error
        settings = self._settings
        environment = {**self._environment, **spec.environment}
        order = Spawn(ward, argv, environment, spec.memory, settings.open_files, int(settings.file_size))
        try:
            await warden.spawn(order, descriptors, container)
        except BaseException:
            await container.remove()
            raise
        return container

    async def _serving(self) -> WardenClient:
        """Return a warden that lives; start one if the last was killed and its successor failed to start."""
        if self._warden is None:
            if self._replacing is None:
                self._replacing = self.tasks.create_task(self._replace(None, ()), name="warden")
            await asyncio.wait({self._replacing})
        if self._warden is None:
            raise StartFailed("no warden could be started, which the log explains")
        return self._warden

    async def _dismiss(self) -> bool:
        warden, self._warden = self._warden, None
        return warden is None or await warden.dismiss()

    def _on_death(self, charges: Sequence[Charge]) -> None:
        """Start another warden at once, for the first thing it does is to end what the dead one had in charge."""
        logger.error("the warden was killed: %d containers are lost, another warden is started", len(charges))
        dead, self._warden = self._warden, None
        self._replacing = self.tasks.create_task(self._replace(dead, charges), name="warden")

    async def _replace(self, dead: WardenClient | None, charges: Sequence[Charge]) -> None:
        try:
            if dead is not None:
                await dead.left()
            await self.open()
        except (SettingsError, StartFailed) as error:
            logger.error("another warden could not be started: %s", error)  # noqa: TRY400 (the message says all)
        finally:
            self._replacing = None
            for charge in charges:
                charge.gone()
