"""Containers of a Docker engine, or of podman's Docker-compatible service."""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from invoker import Settings
from invoker.config import NodeSettings, PoolSettings
from invoker.contracts import ContainerRuntime, Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import SettingsError, StartFailed
from invoker_docker.address import DaemonAddress
from invoker_docker.answers import EngineError
from invoker_docker.background import Background
from invoker_docker.container import DockerContainer
from invoker_docker.disposal import Disposal
from invoker_docker.engine import Engine, connected
from invoker_docker.failures import start_failure
from invoker_docker.health import Health
from invoker_docker.images import Images
from invoker_docker.kinds import KIND_LABEL, local_kinds
from invoker_docker.names import Names
from invoker_docker.network import Network, network_for
from invoker_docker.ownership import Owner, owning
from invoker_docker.settings import DockerSettings
from invoker_docker.site import Site
from invoker_docker.starting import Starter
from invoker_docker.upkeep import Upkeep, sweep

GRACE: Final = 30.0
"""Seconds that leaving may take (as upstream, spec 10.9.2); what is left then is the next life's to sweep."""
DOWN_GRACE: Final = 3.0
"""The same while the engine is known to be down; and for a last look at what is left."""

logger = logging.getLogger("invoker.docker")


@asynccontextmanager
async def docker_runtime(settings: Settings) -> AsyncIterator["DockerRuntime"]:
    """Run a runtime; leaving removes every container.

    Raises:
        SettingsError: another invoker has this identity, or the network, the OCI runtime or a file can't be used.
        StartFailed: the engine can't be used, or isn't there.
    """
    chosen = settings[DockerSettings]
    with owning(settings[NodeSettings]) as owner:
        async with contextlib.AsyncExitStack() as opened:
            try:
                engine = await opened.enter_async_context(connected(chosen))
                _check_oci_runtime(engine, chosen)
                found = Found(
                    owner=owner,
                    network=await network_for(engine, chosen),
                    kinds=local_kinds(await engine.images(KIND_LABEL)),
                )
            except EngineError as error:
                raise _unusable(chosen, error) from error
            async with _running(engine, settings, found) as runtime:
                yield runtime


@asynccontextmanager
async def _running(engine: Engine, settings: Settings, found: "Found") -> AsyncIterator["DockerRuntime"]:
    """Run the background: what looks after the engine may break, and containers are removed all the same."""
    async with Background() as background:
        runtime = DockerRuntime(engine, settings, found, background)
        try:
            async with asyncio.TaskGroup() as care:
                watches = [care.create_task(watch) for watch in runtime.watches()]
                try:
                    yield runtime
                finally:
                    for watch in watches:
                        watch.cancel()
        finally:
            await runtime.close()


@dataclass(frozen=True, slots=True)
class Found:
    """What there was when the runtime was opened."""

    owner: Owner
    network: Network
    kinds: Runtimes

    def bridge(self, address: DaemonAddress) -> str | None:
        """Name of the interface behind which the containers are, if that is on this machine."""
        return self.network.bridge if _is_here(address) else None


class DockerRuntime(ContainerRuntime):
    """Starts containers. Owns the names of all of them."""

    def __init__(self, engine: Engine, settings: Settings, found: Found, background: Background) -> None:
        self._settings = settings[DockerSettings]
        self._engine = engine
        self._found = found
        self._background = background
        self._names = Names()
        self._health = Health(engine, self._settings.ping_interval, self._settings.network)
        self._disposal = Disposal(engine, self._health, background, self._names.free)
        self._images = Images(engine, self._settings, background)
        self._slots = asyncio.Semaphore(self._settings.parallel_creates)
        self._starter = Starter(
            settings=self._settings,
            pool_memory=int(settings[PoolSettings].memory),
            owner=found.owner,
            site=Site(engine, self._health, self._disposal, background),
            images=self._images,
            names=self._names,
        )
        self._upkeep = Upkeep(engine, found.owner, self._health, self._disposal, self._names)
        self._used = False
        self._closing = False

    async def sweep(self) -> Sequence[str]:
        """See `ContainerRuntime`."""
        try:
            swept = await sweep(self._engine, self._found.owner)
        except EngineError as error:
            raise _unusable(self._settings, error) from error
        if swept.names:
            logger.info("removed containers that an earlier life left: %s", ", ".join(sorted(swept.names)))
        self._upkeep.leftovers = swept.found
        return swept.names

    def runtimes(self) -> Runtimes:
        """See `ContainerRuntime`. The images that say so by their labels, as they were on opening."""
        return self._found.kinds

    def faults(self) -> Sequence[str]:
        """See `Part`."""
        return self._health.faults()

    def bridges(self) -> Sequence[str]:
        """See `ContainerRuntime`: none where the engine is on another machine."""
        bridge = self._found.bridge(self._engine.address)
        return () if bridge is None else (bridge,)

    async def lacking(self, kinds: Runtimes) -> Sequence[str]:
        """See `ContainerRuntime`: images, where `docker.pull` forbids to fetch them."""
        try:
            return await self._images.lacking(kinds)
        except EngineError as error:
            raise _unusable(self._settings, error) from error

    async def create(self, spec: ContainerSpec, output: Output) -> DockerContainer:
        """See `ContainerRuntime`. At most `docker.parallel_creates` are under way; images are pulled before that."""
        if self._closing:
            raise StartFailed("the runtime is closing")
        self._health.check()
        if spec.name in self._names:
            raise StartFailed(f"there is a container {spec.name} already")
        self._used = True
        self._names.claim(spec.name)
        with contextlib.ExitStack() as unbegun:
            unbegun.callback(self._names.free, spec.name)
            await self._ensure_image(spec.runtime)
            async with self._slots:
                self._health.check()
                unbegun.pop_all()  # from here on it is the starter's
                return await self._starter.start(spec, output)

    async def close(self) -> None:
        """Remove every container; what can't be is named in the log, and swept by the next life."""
        self._closing = True
        for container in self._names.containers():
            self._background.create_task(container.remove(), name=f"closing of {container.name}")
        await self._background.close(GRACE if self._health.up.is_set() else DOWN_GRACE)
        if self._names:
            logger.error("containers that could not be removed: %s", ", ".join(sorted(self._names)))
        if self._health.up.is_set():
            await self._sweep_strays()
            await self._remove_unused_network()

    def watches(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what must go on while the runtime is open."""
        return self._health.watch(), self._upkeep.run(self._settings.reconcile_interval)

    async def _sweep_strays(self) -> None:
        """Remove what came of creations that had no answer, and was not found since."""
        try:
            async with asyncio.timeout(DOWN_GRACE):
                strays = await sweep(self._engine, self._found.owner, this_life=True)
            if strays.names:
                logger.warning(
                    "removed containers that came of creations without an answer: %s", ", ".join(strays.names)
                )
        except (TimeoutError, EngineError) as error:
            logger.warning("whether containers are left can't be told: %r", error)

    async def _remove_unused_network(self) -> None:
        """Leave none where there was none, after a mere look such as `invoker check`; once used, it stays for others.

        An invoker that found it meanwhile makes it anew when it needs it.
        """
        if self._found.network.made and not self._used:
            with contextlib.suppress(EngineError):  # somebody uses it, or has removed it
                await self._engine.remove_network(self._settings.network)

    async def _ensure_image(self, runtime: Runtime) -> None:
        try:
            await self._images.ensure(runtime)
        except EngineError as error:
            self._health.doubt(error)
            raise start_failure(error, runtime) from error


def _unusable(settings: DockerSettings, error: EngineError) -> StartFailed:
    return StartFailed(f"the container engine at {settings.url} can't be used: {error}")


def _check_oci_runtime(engine: Engine, settings: DockerSettings) -> None:
    """Refuse an OCI runtime that the engine lacks: everything would seem well, and no container would start."""
    wanted = settings.oci_runtime
    if wanted is not None and engine.kind.lacks(wanted):
        there = ", ".join(engine.kind.runtimes)
        raise SettingsError([f"docker.oci_runtime: the engine has no OCI runtime {wanted!r}; it has: {there}"])


def _is_here(address: DaemonAddress) -> bool:
    """Whether an engine's machine is this one, as far as its address tells."""
    if address.path is not None or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False
