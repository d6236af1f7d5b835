"""Containers that are child processes: the shortest way from an action to its result, and no wall around it."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from invoker import Settings
from invoker.contracts import ContainerRuntime, Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError, StartFailed
from invoker_process.container import ProcessContainer
from invoker_process.interpreters import Interpreters, installed
from invoker_process.messages import ChildGone, StartChild
from invoker_process.settings import ProcessSettings
from invoker_process.supervisor_client import SupervisorClient

LANGUAGE: Final = "C.UTF-8"

logger = logging.getLogger("invoker.process")


@asynccontextmanager
async def process_runtime(settings: Settings) -> AsyncIterator["ProcessRuntime"]:
    """Run a runtime; leaving ends every process of every container.

    Raises:
        SettingsError: an interpreter or the work directory can't be used.
        StartFailed: no supervisor could be started.
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
    """Starts containers by way of the supervisor. Owns the supervisor, and its successor should it be killed."""

    tasks: asyncio.TaskGroup
    """Where the one task runs that there may be: the start of another supervisor."""

    def __init__(self, settings: ProcessSettings, interpreters: Interpreters) -> None:
        self._settings = settings
        self._interpreters = interpreters
        self._environment = {"PATH": interpreters.search_path, "LANG": LANGUAGE}
        self._numbers = itertools.count(1)
        self._names: set[str] = set()
        """Of containers of which something may be left."""
        self._supervisor: SupervisorClient | None = None
        self._replacing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the supervisor, which removes what an earlier one may have left."""
        self._supervisor = await SupervisorClient.start(self._settings, self._on_death)

    async def close(self) -> None:
        """Remove every container, and the supervisor."""
        while self._replacing is not None:
            await asyncio.wait({self._replacing})
        if not await self._dismiss():  # it was killed on the way: another ends what it left
            await self._replace(None)
            await self._dismiss()

    @property
    def supervisor_pid(self) -> int:
        """Number of the supervisor's process; 0 if there is none at the moment."""
        return self._supervisor.pid if self._supervisor is not None else 0

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`."""
        return self._interpreters.runtimes()

    async def create(self, spec: ContainerSpec, output: Output) -> ProcessContainer:
        """See `ContainerRuntime`. Takes one round trip to the supervisor."""
        argv = self._interpreters.command(spec.runtime)
        if spec.name in self._names:
            raise StartFailed(f"there is a container {spec.name} already")
        self._names.add(spec.name)
        try:
            supervisor = await self._living()
        except BaseException:
            self._names.discard(spec.name)
            raise
        number = next(self._numbers)
        container = ProcessContainer(spec.name, number, supervisor, output, self._names.discard)
        try:
            streams = container.streams()
        except OSError as error:
            container.hear(ChildGone(number), ())
            raise StartFailed(f"{spec.name}: {error.strerror or error}") from error
        settings = self._settings
        environment = {**self._environment, **spec.environment}
        order = StartChild(number, argv, environment, spec.memory, settings.open_files, int(settings.file_size))
        try:
            await supervisor.spawn(order, streams, container.hear)
        except BaseException:
            await container.remove()
            raise
        return container

    async def _living(self) -> SupervisorClient:
        """Return a supervisor that lives; start one if the last was killed and its successor failed to start."""
        if self._supervisor is None:
            if self._replacing is None:
                self._replacing = self.tasks.create_task(self._replace(None), name="supervisor")
            await asyncio.wait({self._replacing})
        if self._supervisor is None:
            raise StartFailed("no supervisor could be started, which the log explains")
        return self._supervisor

    async def _dismiss(self) -> bool:
        supervisor, self._supervisor = self._supervisor, None
        return supervisor is None or await supervisor.dismiss()

    def _on_death(self) -> None:
        """Start another supervisor at once, for the first thing it does is to end what the dead one has left."""
        dead, self._supervisor = self._supervisor, None
        lost = dead.containers if dead is not None else 0
        logger.error("the supervisor was killed: %d containers are lost, another supervisor is started", lost)
        self._replacing = self.tasks.create_task(self._replace(dead), name="supervisor")

    async def _replace(self, dead: SupervisorClient | None) -> None:
        try:
            if dead is not None:
                await dead.left()
            await self.open()
        except (SettingsError, StartFailed) as error:
            logger.error("another supervisor could not be started: %s", error)  # noqa: TRY400 (the message says all)
        finally:
            self._replacing = None
            if dead is not None:
                dead.abandon()
