"""A Docker engine as the place where actions run: a network of the bench's own, labels, and nothing left behind."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from bench import machine
from bench.docker import bare, images
from bench.docker.census import ContainerCensus
from bench.docker.bare import PORT
from bench.docker.engine import Engine
from bench.floor import ask_at
from bench.ground import Address, Tables
from bench.messages import FIRST, invocation, is_acknowledgement
from bench.target import Invoker, folder
from invoker.config import NodeSettings, PoolSettings, Settings
from invoker.entities.container import ContainerSpec
from invoker.entities.function import Function
from invoker.entities.runtimes import Runtime
from invoker_docker.creation import create_request
from invoker_docker.settings import DockerSettings

_LABEL: Final = "invoker-bench"
_RUN_LABEL: Final = "invoker-bench-run"
_PINNED: Final = {"HostConfig": {"CpusetCpus": str(machine.LOAD_CORE)}}
"""Containers share the core of the load generator; the engine itself runs where it likes."""
_OWN_NUMBERS: Final = 5 * FIRST
"""The load generator doesn't come so far."""
_BRIDGE: Final = {"com.docker.network.bridge.enable_icc": "false"}


class DockerGround:
    """An engine, prepared: `with DockerGround(url) as ground`. Leaving removes the network and every container left."""

    name = "docker"

    def __init__(self, url: str) -> None:
        self.engine = Engine(url)
        self.run = secrets.token_hex(4)
        """What everything of this run is labelled with."""
        self.network = f"invoker-bench-{self.run}"

    def __enter__(self) -> Self:
        """Make the network, and the images that are missing."""
        with self.engine:
            self._images = images.built(self.engine)
        options = {**_BRIDGE, "com.docker.network.bridge.name": f"bench{self.run}"}
        request = {"Name": self.network, "Driver": "bridge", "Options": options, "Labels": {_RUN_LABEL: self.run}}
        self.engine.ask("POST", "/networks/create", json.dumps(request).encode())
        return self

    def __exit__(self, *_: object) -> None:
        """Remove everything that has this run's label."""
        for container in self.engine.labelled(f"{_RUN_LABEL}={self.run}"):
            self.engine.remove(container)
        self.engine.ask("DELETE", f"/networks/{self.network}")
        self.engine.__exit__()

    def image(self, proxy: str) -> str:
        """Return the image of an action proxy."""
        return images.instant(self.engine, proxy) if proxy.startswith("instant") else self._images[proxy]

    def runtime(self, where: Path, proxy: str = "python") -> "DockerRuntime":
        """See `Ground`."""
        return DockerRuntime(self, where, {"python": self.image(proxy), "nodejs": self.image("nodejs")})

    def bare_removal(self, count: int) -> float | None:
        """See `Ground`."""
        with folder() as where:
            return bare.removal(self.runtime(where), count)


class DockerRuntime:
    """Containers on the engine, of one invoker."""

    outlives = True
    direct_is = "the same calls straight to the action proxies in the same containers"

    def __init__(self, ground: DockerGround, where: Path, by_family: Mapping[str, str]) -> None:
        self.ground = ground
        self.by_family = by_family
        self.where = where
        self.url = ground.engine.url
        """Where the invoker is told that the engine listens."""
        self.label = f"{_LABEL}={where.name}"

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
                "network": self.ground.network,
                "labels": {_LABEL: self.where.name, _RUN_LABEL: self.ground.run},
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
        settings = self.parsed()
        return create_request(spec, settings[DockerSettings], pool_memory=64 << 30, labels={})

    def attend(self, pid: int) -> None:
        """See `Runtime`."""

    def containers(self) -> int:
        """See `Runtime`."""
        return len(self.left())

    def census(self) -> ContainerCensus:
        """See `Runtime`."""
        return ContainerCensus(self.ground.engine, self.label)

    @contextmanager
    def direct(self, invoker: Invoker, functions: Sequence[Function]) -> Iterator[Sequence[Address]]:
        """See `Runtime`; these are the invoker's own containers: one of each function, which runs once for that."""
        for number, function in enumerate(functions, _OWN_NUMBERS):
            answer = ask_at(("127.0.0.1", invoker.port), invocation(function).render(number))
            if not is_acknowledgement(answer, number):
                raise RuntimeError(f"no container of {function.name}: {answer[:300]!r}")
        named = {one.action: one.name for one in invoker.pool().containers}
        found = [named[f"{function.path}/{function.name}"] for function in functions]
        yield [(self.ground.engine.address_of(name), PORT) for name in found]

    def left(self) -> Sequence[object]:
        """See `Runtime`."""
        return self.ground.engine.labelled(self.label)


