"""One container in the pool: whose it is, what it holds, and its output on the way to the logs."""

import enum
from collections.abc import Callable
from typing import NamedTuple

from invoker.contracts import Container, LogFollower
from invoker.entities.container import Stream


class WarmKey(NamedTuple):
    """Activations with equal keys may use the same container (spec 10.2.1, T37)."""

    digest: bytes
    """Of the function: revision and time of writing left out."""
    namespace: str
    """The invoking one: different callers never share (spec 10.2.3)."""
    binding: str | None
    """Each binding's init parameters live in the container's environment (spec 10.2.2)."""


class State(enum.Enum):
    """Where a container is in its life."""

    STARTING = "starting"
    BUSY = "busy"
    IDLE = "idle"
    REMOVING = "removing"


class Slot:
    """A container's place in the pool, and its `Output`. Owned by the pool, lent to one lease at a time."""

    __slots__ = ("_on_gone", "container", "follower", "gone", "idle_since", "initialised", "key", "memory", "state")

    def __init__(self, key: WarmKey, memory: int, follower: LogFollower, on_gone: Callable[["Slot"], None]) -> None:
        self.key = key
        self.memory = memory
        """Bytes taken from the budget until the container is removed."""
        self.follower = follower
        self.state = State.STARTING
        self.container: Container | None = None
        """`None` until the runtime has created it."""
        self.initialised = False
        """`/init` succeeded; set by whoever holds the lease."""
        self.gone = False
        """Its output ended by itself: there is no container any more."""
        self.idle_since = 0.0
        """Clock's time at which it went idle; only meaningful while it is."""
        self._on_gone = on_gone

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Pass output on to the logs."""
        self.follower.write(stream, chunk)

    def closed(self) -> None:
        """Note that the container is gone, so that nobody is given it."""
        self.gone = True
        self.follower.closed()
        self._on_gone(self)
