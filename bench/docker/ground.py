"""A Docker engine as the place where actions run, with an invoker or without: nothing is left running."""

import json
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

from bench import machine
from bench.docker import images
from bench.docker.census import ContainerCensus
from bench.docker.engine import BareEngine, EngineRefusal
from bench.floor import ask
from bench.ground import Address, Tables
from bench.messages import init
from bench.target import folder
from invoker.config import NodeSettings, PoolSettings, Settings
from invoker.entities.container import ContainerSpec
from invoker.entities.function import Function
from invoker.entities.runtimes import Runtime
from invoker_docker.create_request import create_request
from invoker_docker.settings import DockerSettings

PORT: Final = 8080
AT_ONCE: Final = 8
"""Removals at one time: of 4, 8, 16 and 50 the one that is fastest here."""
_PAUSE: Final = 0.001

_LABEL: Final = "invoker-bench"
_RUN_LABEL: Final = "invoker-bench-run"
_PINNED: Final = {"HostConfig": {"CpusetCpus": str(machine.LOAD_CORE)}}
"""Containers share the core of the load generator; the engine itself runs where it likes."""
_PATIENCE: Final = 30.0
"""Seconds in which every container must be gone at the end."""
_NETWORK: Final = "invoker-bench"
_BRIDGE: Final = {
    "com.docker.network.bridge.name": "invoker-bench0",
    "com.docker.network.bridge.enable_icc": "false",  # as the plugin makes it
}


class DockerGround:
    """An engine, prepared: `with DockerGround(url) as ground`. Leaving removes every container that is left.

    The network stays, for the next run: after many removals at a time an engine (20.10) may say for ever that an empty
    network has active endpoints.
    """

    name = "docker"

    def __init__(self, url: str) -> None:
        self.engine = BareEngine(url)
        self.run = secrets.token_hex(4)
        """What everything of this run is labelled with."""

    def __enter__(self) -> Self:
        """Make the network and the images, where they are missing."""
        with self.engine:
            self._images = images.built(self.engine)
        try:
            self.engine.ask("GET", f"/networks/{_NETWORK}")
        except EngineRefusal:
            request = {"Name": _NETWORK, "Driver": "bridge", "CheckDuplicate": True, "Options": _BRIDGE}
            self.engine.ask("POST", "/networks/create", json.dumps(request).encode())
        return self

    def __exit__(self, *_: object) -> None:
        """Remove everything that has this run's label."""
        until = time.monotonic() + _PATIENCE
        with self.engine:
            while left := self.engine.labelled(f"{_RUN_LABEL}={self.run}"):
                if time.monotonic() > until:
                    raise RuntimeError(f"containers that can't be removed: {left}")
                for container in left:
                    with suppress(EngineRefusal):  # it is being removed already
                        self.engine.remove(container)

    def image(self, proxy: str) -> str:
        """Return the image of an action proxy."""
        return images.instant(self.engine, proxy) if proxy.startswith("instant") else self._images[proxy]

    def runtime(self, where: Path, proxy: str = "python") -> "DockerHost":
        """See `Ground`."""
        return DockerHost(self, where, {"python": self.image(proxy), "nodejs": self.image("nodejs")})

    def bare_removal(self, count: int) -> float | None:
        """See `Ground`."""
        with folder() as where:
            return removal(self.runtime(where), count)


class DockerHost:
    """Containers on the engine, of one invoker."""

    outlives = True
    direct_is = "the same calls straight to containers of the same image, to whose output nobody listens"

    def __init__(self, ground: DockerGround, where: Path, by_family: Mapping[str, str]) -> None:
        self.engine = ground.engine
        self.by_family = by_family
        self.where = where
        self.url = ground.engine.url
        """Where the invoker is told that the engine listens."""
        self.label = f"{_LABEL}={where.name}"
        self._run = ground.run

    @property
    def helpers(self) -> tuple[int, ...]:
        """See `Runtime`."""
        return ()

    def settings(self) -> Tables:
        """See `Runtime`."""
        manifest = self.where / "manifest.json"
        manifest.write_text(json.dumps(images.manifest(dict(self.by_family))), encoding="utf-8")
        return {
            "": {"runtime": "docker"},
            "node": {"unique_name": self.where.name},
            "runtimes": {"manifest": str(manifest)},
            "docker": {
                "url": self.url,
                "network": _NETWORK,
                "labels": {_LABEL: self.where.name, _RUN_LABEL: self._run},
                "extra": _PINNED,
            },
        }

    def parsed(self) -> Settings:
        """Return the same settings for whoever uses the plugin without an invoker around it."""
        tables = self.settings()
        node = NodeSettings(state_dir=self.where / "state", unique_name=str(tables["node"]["unique_name"]))
        return Settings.of(node, PoolSettings(), DockerSettings(**tables["docker"]))  # type: ignore[arg-type]

    def spec(self, name: str, family: str = "python") -> ContainerSpec:
        """Return what a container of the bench's own is."""
        runtime = Runtime(kind=f"{family}:1", family=family, image=self.by_family[family])
        return ContainerSpec(name=f"{self.where.name}-{name}", runtime=runtime, memory=128 << 20)

    def request(self, spec: ContainerSpec) -> dict[str, Any]:
        """Return how the plugin would ask for a container."""
        labels = {_LABEL: f"{self.where.name}-bare"}  # not among the invoker's, which are counted
        return create_request(spec, self.parsed()[DockerSettings], pool_memory=64 << 30, labels=labels, podman=False)

    def attend(self, pid: int) -> None:
        """See `Runtime`."""

    def containers(self) -> int:
        """See `Runtime`."""
        return len(self.left())

    def census(self) -> ContainerCensus:
        """See `Runtime`."""
        return ContainerCensus(self.engine, self.label)

    @contextmanager
    def direct(self, functions: Sequence[Function]) -> Iterator[Sequence[Address]]:
        """See `Runtime`.

        They are not the invoker's own containers: a sentinel that it has not caused costs a container its life.
        """
        with running(self, [self.spec(f"direct-{number}") for number in range(len(functions))]) as containers:
            addresses = [(self.engine.address_of(container), PORT) for container in containers]
            for address, function in zip(addresses, functions, strict=True):
                with listening(address) as connection:
                    ask(connection, init(function))
            yield addresses

    def left(self) -> Sequence[object]:
        """See `Runtime`."""
        return self.engine.labelled(self.label)


@contextmanager
def bare_container(host: DockerHost, name: str, family: str = "python") -> Iterator[str]:
    """Have a container that was created and not started."""
    engine = host.engine
    spec = host.spec(name, family)
    container = engine.create(spec.name, host.request(spec))
    try:
        yield container
    finally:
        engine.remove(container)


def listening(address: tuple[str, int]) -> socket.socket:
    """Connect to an action proxy as soon as it listens."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return socket.create_connection(address, _PATIENCE)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE)


@contextmanager
def running(host: DockerHost, specs: Sequence[ContainerSpec]) -> Iterator[Sequence[str]]:
    """Have many containers, started and removed several at a time."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        containers = list(threads.map(lambda spec: _started(host, spec), specs))
        try:
            yield containers
        finally:
            list(threads.map(lambda container: _removed(host.engine.url, container), containers))


def removal(host: DockerHost, count: int) -> float:
    """Start containers, then remove them all; return the seconds that the removal takes."""
    with running(host, [host.spec(f"removed-{number}") for number in range(count)]):
        begun = time.perf_counter()
    return time.perf_counter() - begun


def _started(host: DockerHost, spec: ContainerSpec) -> str:
    with BareEngine(host.engine.url) as engine:
        container = engine.create(spec.name, host.request(spec))
        engine.start(container)
        return container


def _removed(url: str, container: str) -> None:
    with BareEngine(url) as engine:
        engine.remove(container)
