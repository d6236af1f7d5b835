"""Counting child processes over time. Containers of an engine are counted by its events (`bench.docker.census`)."""

import threading
from typing import Final, Self

from bench import machine

INTERVAL: Final = 0.01
"""Seconds between two looks: no action proxy lives for less."""


class ChildrenCensus:
    """Counts the children of a process, from entering to leaving."""

    def __init__(self, parent: int) -> None:
        self.most = 0
        """How many there were at one time."""
        self._parent = parent
        self._seen: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="census", daemon=True)

    def __enter__(self) -> Self:
        """Begin to count."""
        self._there = set(machine.children(self._parent))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._over.set()
        self._thread.join()

    @property
    def created(self) -> int:
        """How many there are or were that were not there at the beginning."""
        return len(self._seen - self._there)

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            living = machine.children(self._parent)
            self._seen.update(living)
            self.most = max(self.most, len(living))
