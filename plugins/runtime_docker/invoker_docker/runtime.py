"""The runtime: opening, closing, and what the core sees."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, Final, TypeVar

from invoker import Settings
from invoker.config import NodeSettings
from invoker.contracts import ContainerRuntime, MetricFamily, Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError, StartFailed
from invoker_docker.container import DockerContainer
from invoker_docker.creation import ContainerFactory
from invoker_docker.engine import EngineClient, connected
from invoker_docker.failures import EngineError
from invoker_docker.health import EngineHealth
from invoker_docker.images import KIND_LABEL, local_kinds
from invoker_docker.network import ContainerNetwork
from invoker_docker.ownership import Owner, Reconciler, owning
from invoker_docker.settings import DockerSettings

GRACE: Final = 30.0
"""Seconds that leaving may take (as upstream, spec 10.9.2); what is left then is the next life's to sweep."""
DOWN_GRACE: Final = 3.0
"""The same while the engine is known to be down; and for a last look at what is left."""

T = TypeVar("T")

logger = logging.getLogger("invoker.docker")


@asynccontextmanager
async def docker_runtime(settings: Settings) -> AsyncIterator["DockerRuntime"]:
    """Run a runtime. Entering changes nothing on the engine, leaving removes every container that it has created.

    Raises:
        SettingsError: another invoker has this identity, or the OCI runtime or a file can't be used.
        StartFailed: the engine can't be used, or isn't there.
    """
    chosen = settings[DockerSettings]
    with owning(settings[NodeSettings]) as owner:
        async with contextlib.AsyncExitStack() as opened:
            with _unusable(chosen):
                engine = await opened.enter_async_context(connected(chosen))
                _check_oci_runtime(engine, chosen)
                network = ContainerNetwork(engine, chosen)
                await network.look()
                kinds = local_kinds(await engine.images(KIND_LABEL))
            tasks = await opened.enter_async_context(ClosableTaskGroup())
            runtime = DockerRuntime(settings, engine, owner, network, kinds, tasks)
            opened.push_async_callback(runtime.close)
            # Of its own, for what looks after the engine may break: containers are removed all the same.
            async with asyncio.TaskGroup() as care:
                watches = [care.create_task(watch) for watch in runtime.watches()]
                try:
                    yield runtime
                finally:
                    for watch in watches:
                        watch.cancel()


class DockerRuntime(ContainerRuntime):
    """Starts containers. Owns the names of all of them."""

    def __init__(
        self,
        settings: Settings,
        engine: EngineClient,
        owner: Owner,
        network: ContainerNetwork,
        kinds: Runtimes,
        tasks: "ClosableTaskGroup",
    ) -> None:
        self._settings = settings[DockerSettings]
        self._engine = engine
        self._network = network
        self._kinds = kinds
        self._tasks = tasks
        self._health = EngineHealth(engine, self._settings.ping_interval, self._settings.network)
        self._factory = ContainerFactory(settings, engine, owner, network, self._health, tasks)
        self._names = self._factory.names
        self._removals = self._factory.removals
        self._reconciler = Reconciler(engine, owner, self._health, self._removals, self._names)
        self._closing = False

    async def sweep(self) -> Sequence[str]:
        """See `ContainerRuntime`. Makes the network as well, so that one that can't be made is told at once."""
        with _unusable(self._settings):
            await self._network.ensure()
            swept = await self._reconciler.sweep()
        if swept:
            logger.info("removed containers that an earlier life left: %s", ", ".join(sorted(swept)))
        return swept

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`. The images that say so by their labels, as they were on opening."""
        return self._kinds

    def faults(self) -> Sequence[str]:
        """See `Part`."""
        return self._health.faults()

    def metrics(self) -> Sequence[MetricFamily]:
        """See `Part`."""
        factory, images, removals = self._factory, self._factory.images, self._removals
        return [
            MetricFamily(name, "counter" if name.startswith("counter") else "gauge", text, [({}, value)])
            for name, text, value in (
                ("gauge_docker_engine_up", "Whether the engine answers: 1, or 0", self._health.up.is_set()),
                ("gauge_docker_creates", "Containers that are being created", factory.creating),
                ("gauge_docker_creates_waiting", "Containers that wait to be created", factory.waiting),
                ("gauge_docker_pulls", "Images that are being pulled", images.pulling),
                ("gauge_docker_removals", "Containers that are being removed", len(removals)),
                ("counter_docker_pulls_failed", "Images that could not be pulled", images.failed),
                ("counter_docker_removals_failed", "Tries to remove a container that failed", removals.failed),
            )
        ]

    def bridges(self) -> Sequence[str]:
        """See `ContainerRuntime`: none where the engine is on another machine."""
        bridge = self._network.bridge
        return (bridge,) if bridge is not None and self._engine.address.local else ()

    async def lacking(self, kinds: Runtimes) -> Sequence[str]:
        """See `ContainerRuntime`: images, where `docker.pull` forbids to fetch them."""
        with _unusable(self._settings):
            return await self._factory.images.lacking(kinds)

    async def create(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        """See `ContainerRuntime`."""
        if self._closing:
            raise StartFailed("the runtime is closing")
        self._health.check()
        return await self._factory.create(spec, output)

    async def close(self) -> None:
        """Remove every container; what can't be is named in the log, and swept by the next life."""
        self._closing = True
        for container in list(self._names.values()):
            if container is not None:
                self._tasks.create_task(container.remove(), name=f"closing of {container.name}")
        await self._tasks.close(GRACE if self._health.up.is_set() else DOWN_GRACE)
        if self._names:
            logger.error("containers that could not be removed: %s", ", ".join(sorted(self._names)))
        if self._health.up.is_set():
            await self._remove_strays()

    def watches(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what must go on while the runtime is open."""
        return self._health.watch(), self._reconciler.watch(self._settings.reconcile_interval)

    async def _remove_strays(self) -> None:
        try:
            async with asyncio.timeout(DOWN_GRACE):
                strays = await self._reconciler.remove_strays()
            if strays:
                logger.warning("removed containers that came of creations without an answer: %s", ", ".join(strays))
        except (TimeoutError, EngineError) as error:
            logger.warning("whether containers are left can't be told: %r", error)


class ClosableTaskGroup(asyncio.TaskGroup):
    """A task group whose tasks need not all be waited for: `close` bounds how long they go on."""

    def __init__(self) -> None:
        super().__init__()
        self._running: set[asyncio.Task[Any]] = set()

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """See `asyncio.TaskGroup`."""
        task = super().create_task(coro, name=name, context=context)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def close(self, grace: float) -> None:
        """Wait until everything is done, for `grace` seconds at most, and cancel the rest."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._running and (left := deadline - loop.time()) > 0:  # what is done may have begun something else
            await asyncio.wait(self._running, timeout=left)
        for task in self._running:
            task.cancel()


@contextlib.contextmanager
def _unusable(settings: DockerSettings) -> Iterator[None]:
    """Raise an error of the engine as what it means to whoever opens a runtime."""
    try:
        yield
    except EngineError as error:
        raise StartFailed(f"the container engine at {settings.url} can't be used: {error}") from error


def _check_oci_runtime(engine: EngineClient, settings: DockerSettings) -> None:
    """Refuse an OCI runtime that the engine lacks: everything would seem well, and no container would start."""
    wanted = settings.oci_runtime
    if wanted is not None and engine.info.lacks(wanted):
        there = ", ".join(engine.info.oci_runtimes)
        raise SettingsError([f"docker.oci_runtime: the engine has no OCI runtime {wanted!r}; it has: {there}"])
