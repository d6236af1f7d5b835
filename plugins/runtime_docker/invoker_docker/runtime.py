"""The runtime: containers from the call of the core until they run, or nothing is left of them."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from invoker import Settings
from invoker.config import NodeSettings, PoolSettings, RolesSettings
from invoker.contracts import ContainerRuntime, MetricFamily, Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError, StartFailed
from invoker_docker.container import ContainersByName, DockerContainer, Removals
from invoker_docker.create_request import create_request
from invoker_docker.engine import EngineClient, connected
from invoker_docker.failures import (
    EngineDown,
    EngineError,
    has_no_quota,
    name_is_taken,
    something_is_missing,
    start_failure,
)
from invoker_docker.health import EngineHealth
from invoker_docker.images import KIND_LABEL, EngineImages, local_kinds
from invoker_docker.network import ContainerNetwork
from invoker_docker.ownership import Owner, Reconciler, owning
from invoker_docker.registries import RegistryConfig
from invoker_docker.settings import DockerSettings

GRACE: Final = 30.0  # seconds that leaving may take (as upstream, spec 10.9.2); the next life sweeps what is left
DOWN_GRACE: Final = 3.0  # the same while the engine is known to be down; and for a last look at what is left
CLEANING: Final = 5.0  # seconds for which a start that failed or was cancelled waits for its container to be gone

OPEN: Final = (
    "actions reach the engine's machine, private networks and the cloud's metadata (169.254.169.254), unless something "
    'else forbids it: set extra = ["firewall"]'
)
UNBOUNDED: Final = (
    "nothing bounds what an action writes into its container, and one can fill the engine's disk in seconds: have the "
    'engine keep its data on xfs with pquota, or set docker.file_system = "strict"'
)

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
        if chosen.registry_config is not None:
            RegistryConfig.read(chosen.registry_config)
        async with contextlib.AsyncExitStack() as opened:
            with _unusable(chosen):
                engine = await opened.enter_async_context(connected(chosen))
                check_oci_runtime(engine, chosen)
                network = ContainerNetwork(engine)
                await network.look()
                kinds = local_kinds(await engine.images(KIND_LABEL))
            if "firewall" not in settings[RolesSettings].extra:
                logger.warning("%s", OPEN)
            if not engine.able.quota and {chosen.file_system, *chosen.file_systems.values()} != {"strict"}:
                logger.warning("%s", UNBOUNDED)
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
        self._pool_memory = int(settings[PoolSettings].memory)
        self._engine = engine
        self._owner = owner
        self._network = network
        self._kinds = kinds
        self._tasks = tasks
        self._names: ContainersByName = {}
        self._images = EngineImages(engine, tasks)
        self._health = EngineHealth(engine)
        self._removals = Removals(engine, self._health, tasks, lambda name: self._names.pop(name, None))
        self._reconciler = Reconciler(engine, owner, self._health, self._removals, self._names)
        self._creates = 0
        self._closing = False

    async def sweep(self, *, force: bool = False) -> Sequence[str]:
        """See `ContainerRuntime`. Makes the network as well, so that one that can't be made is told at once."""
        with _unusable(self._settings):
            swept = await self._reconciler.sweep(force=force)
            if swept:
                logger.info("removed containers that an earlier life left: %s", ", ".join(sorted(swept)))
            await self._network.ensure()
        return swept

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`. The images that say so by their labels, as they were on opening."""
        return self._kinds

    def faults(self) -> Sequence[str]:
        """See `Part`."""
        return self._health.faults()

    def metrics(self) -> Sequence[MetricFamily]:
        """See `Part`."""
        return [
            MetricFamily(name, "counter" if name.startswith("counter") else "gauge", text, [({}, value)])
            for name, text, value in (
                ("gauge_docker_engine_up", "Whether the engine answers: 1, or 0", self._health.up.is_set()),
                ("gauge_docker_creates", "Containers that are wanted and not started yet", self._creates),
                ("gauge_docker_pulls", "Images that are being pulled", len(self._images.pulls)),
                ("gauge_docker_removals", "Containers that are being removed", len(self._removals)),
                ("counter_docker_pulls_failed", "Images that could not be pulled", self._images.failed),
                ("counter_docker_removals_failed", "Tries to remove a container that failed", self._removals.failed),
            )
        ]

    def bridges(self) -> Sequence[str]:
        """See `ContainerRuntime`: none where the engine is on another machine."""
        bridge = self._network.bridge
        return (bridge,) if bridge is not None and self._settings.address.local else ()

    async def lacking(self, kinds: Runtimes) -> Sequence[str]:
        """See `ContainerRuntime`: images, where `docker.pull` forbids to fetch them."""
        with _unusable(self._settings):
            return await self._images.lacking(kinds)

    async def create(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        """See `ContainerRuntime`. How many are created at once is for the pool to say."""
        if self._closing:
            raise StartFailed("the runtime is closing")
        self._health.check()
        if spec.name in self._names:
            raise StartFailed(f"there is a container {spec.name} already")
        self._names[spec.name] = None
        self._creates += 1
        with contextlib.ExitStack() as unbegun:
            unbegun.callback(self._names.pop, spec.name)
            try:
                await self._images.ensure(spec.runtime)
                await self._network.ensure()
                self._health.check()
                unbegun.pop_all()  # from here on it is known how to get rid of it
                return await self._start(spec, output)
            except EngineError as error:
                raise start_failure(error, spec.runtime) from error
            except SettingsError as error:  # another network has taken its place meanwhile
                raise StartFailed(str(error)) from error
            finally:
                self._creates -= 1

    async def close(self) -> None:
        """Remove every container; what can't be is named in the log, and swept by the next life."""
        self._closing = True
        for container in list(self._names.values()):
            if container is not None:
                self._tasks.create_task(container.remove(), name=f"closing of {container.name}")
        await self._tasks.close(GRACE if self._health.up.is_set() else DOWN_GRACE)
        if self._names:
            logger.error("containers that could not be removed: %s", ", ".join(sorted(self._names)))
        if not self._health.up.is_set():
            return
        try:
            async with asyncio.timeout(DOWN_GRACE):
                strays = await self._reconciler.remove_strays()
            if strays:
                logger.warning("removed containers that came of creations without an answer: %s", ", ".join(strays))
        except (TimeoutError, EngineError) as error:
            logger.warning("whether containers are left can't be told: %r", error)

    def watches(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what must go on while the runtime is open."""
        return self._health.watch(), self._reconciler.watch(), self._reconciler.follow()

    async def _start(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        try:
            return await self._attempt(spec, output)
        except EngineError as error:
            if has_no_quota(error):
                if self._engine.able.quota:
                    logger.warning("%s (%s)", UNBOUNDED, error.message)
                self._engine.able = msgspec.structs.replace(self._engine.able, quota=False)
            elif something_is_missing(error):
                logger.warning("%s: %s: what is missing is looked for again", spec.name, error.message)
            else:
                raise
        await self._images.ensure(spec.runtime)
        await self._network.ensure(again=True)
        return await self._attempt(spec, output)

    async def _attempt(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        name, identifier = await self._created(spec)
        container = DockerContainer(name, identifier, spec, output, self._engine, self._removals)
        try:
            await container.start()
        except BaseException as error:
            cleaning = self._tasks.create_task(container.remove(), name=f"clean-up of {name}")
            if not isinstance(error, EngineDown):
                await asyncio.wait({cleaning}, timeout=CLEANING)
            raise
        self._names[name] = container
        return container

    async def _created(self, spec: ContainerSpec) -> tuple[str, str]:
        """Return name and id of a container that was created; under another name if its own is somebody else's."""
        try:
            return spec.name, await self._create(spec.name, spec)
        except EngineError as error:
            if not name_is_taken(error):
                raise
        other = f"{spec.name}-{secrets.token_hex(3)}"
        logger.warning("the name %s is taken by another container: %s is used instead", spec.name, other)
        return other, await self._create(other, spec)

    async def _create(self, name: str, spec: ContainerSpec) -> str:
        """Create a container. Once it is asked for, the answer is waited for, so that nothing comes of it unseen.

        What comes of a call without an answer is ours and unknown, so that reconciliation removes it.
        """
        labels, able = self._owner.labels(name, spec), self._engine.able
        request = create_request(spec, self._settings, pool_memory=self._pool_memory, labels=labels, able=able)
        self._names[name] = None
        creation = self._tasks.create_task(self._answer(name, request), name=f"creation of {name}")
        try:
            answer: str | EngineError = await asyncio.shield(creation)
        except asyncio.CancelledError:
            cleaning = self._tasks.create_task(self._undo(name, creation), name=f"clean-up of {name}")
            await asyncio.wait({cleaning}, timeout=CLEANING)
            raise
        if isinstance(answer, EngineError):
            self._names.pop(name, None)
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
            await asyncio.wait({self._removals.remove(answer, name)})
        else:
            self._names.pop(name, None)


class ClosableTaskGroup(asyncio.TaskGroup):
    """A task group whose tasks need not all be waited for: `close` bounds how long they go on."""

    def __init__(self) -> None:
        super().__init__()
        self._running: set[asyncio.Task[Any]] = set()

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """See `asyncio.TaskGroup`."""
        task = super().create_task(coro, **options)
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


def check_oci_runtime(engine: EngineClient, settings: DockerSettings) -> None:
    """Refuse an OCI runtime that the engine surely lacks: everything would seem well, and no container would start.

    It may have one that it doesn't list: podman takes a path, Docker from 23 on the name of any containerd shim.
    """
    wanted, there = settings.oci_runtime, engine.able.oci_runtimes
    if wanted is not None and not set(wanted) & {"/", "."} and there and wanted not in there:
        names = ", ".join(there)
        raise SettingsError([f"docker.oci_runtime: the engine has no OCI runtime {wanted!r}; it has: {names}"])
