"""Containers without an invoker: created as the plugin would, by the simplest of clients."""

import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Protocol

from bench.docker.engine import Engine
from invoker.entities.container import ContainerSpec

PORT: Final = 8080
REMOVALS: Final = 8
"""Removals at one time: of 4, 8, 16 and 50 the one that is fastest here."""
_PATIENCE: Final = 30.0
_PAUSE: Final = 0.001


class Place(Protocol):
    """Where bare containers are: an engine, and how the plugin would ask it for one of them."""

    @property
    def engine(self) -> Engine:
        """The engine, on a connection of the caller's thread."""

    def spec(self, name: str, family: str = "python") -> ContainerSpec:
        """Return what a container of the bench's own is."""

    def request(self, spec: ContainerSpec) -> dict[str, Any]:
        """Return how the plugin would ask for a container."""


@contextmanager
def bare_container(place: Place, name: str, family: str = "python") -> Iterator[str]:
    """Have a container that was created and not started."""
    engine = place.engine
    spec = place.spec(name, family)
    container = engine.create(spec.name, place.request(spec))
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
def running(place: Place, specs: Sequence[ContainerSpec]) -> Iterator[Sequence[str]]:
    """Have many containers, started and removed several at a time."""
    with ThreadPoolExecutor(REMOVALS) as threads:
        containers = list(threads.map(lambda spec: _started(place, spec), specs))
        try:
            yield containers
        finally:
            list(threads.map(lambda container: _removed(place.engine.url, container), containers))


def removal(place: Place, count: int) -> float:
    """Start containers, then remove them all; return the seconds that the removal takes."""
    with running(place, [place.spec(f"removed-{number}") for number in range(count)]):
        begun = time.perf_counter()
    return time.perf_counter() - begun


def _started(place: Place, spec: ContainerSpec) -> str:
    with Engine(place.engine.url) as engine:
        container = engine.create(spec.name, place.request(spec))
        engine.start(container)
        return container


def _removed(url: str, container: str) -> None:
    with Engine(url) as engine:
        engine.remove(container)
