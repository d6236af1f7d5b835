"""Containers without an invoker: created as the plugin would, by the simplest of clients."""

import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bench.docker.engine import Engine
from invoker.entities.container import ContainerSpec

if TYPE_CHECKING:
    from bench.docker.ground import DockerRuntime

PORT: Final = 8080
AT_ONCE: Final = 8
"""Removals at one time: of 4, 8, 16 and 50 the one that is fastest here."""
_PATIENCE: Final = 30.0
_PAUSE: Final = 0.001


@contextmanager
def bare_container(runtime: "DockerRuntime", name: str, family: str = "python") -> Iterator[str]:
    """Have a container that was created and not started."""
    engine = runtime.ground.engine
    spec = runtime.spec(name, family)
    container = engine.create(spec.name, runtime.request(spec))
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
def running(runtime: "DockerRuntime", specs: Sequence[ContainerSpec]) -> Iterator[Sequence[str]]:
    """Have many containers, started and removed several at a time."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        containers = list(threads.map(lambda spec: _started(runtime, spec), specs))
        try:
            yield containers
        finally:
            list(threads.map(lambda container: _removed(runtime.ground.engine.url, container), containers))


def removal(runtime: "DockerRuntime", count: int) -> float:
    """Start containers, then remove them all; return the seconds that the removal takes."""
    with running(runtime, [runtime.spec(f"removed-{number}") for number in range(count)]):
        begun = time.perf_counter()
    return time.perf_counter() - begun


def _started(runtime: "DockerRuntime", spec: ContainerSpec) -> str:
    with Engine(runtime.ground.engine.url) as engine:
        container = engine.create(spec.name, runtime.request(spec))
        engine.start(container)
        return container


def _removed(url: str, container: str) -> None:
    with Engine(url) as engine:
        engine.remove(container)
