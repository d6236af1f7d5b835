"""One container of the pool, its output, and those who wait for it."""

import asyncio
import enum
import re
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from itertools import count, islice
from typing import Final

import msgspec

from invoker.config import LimitsSettings, NodeSettings
from invoker.contracts import Container, ContainerRuntime, LogExtractor, LogFollower, Logs
from invoker.entities.container import ContainerSpec
from invoker.entities.request import Request
from invoker.errors import ContainerError
from invoker.pool.snapshot import StartReason, WaitReason

STEP: Final = 64
"""Activations that get containers in one turn of the event loop, at most: each of them goes on in the next (45 µs)."""
_NO_LOGS: Final = Logs(())
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_]")
_UNSAFE_IN_INSTANCE: Final = re.compile(r"[^A-Za-z0-9_.-]")
"""Spec 10.9.1: `node-b` and `nodeb` are two."""
_LONGEST: Final = 200
"""Characters of a name: engines take 255 and more."""


class State(enum.Enum):
    """Where a container is in its life."""

    STARTING = "starting"
    PREWARMED = "prewarmed"
    BUSY = "busy"
    IDLE = "idle"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    REMOVING = "removing"


@dataclass(eq=False, slots=True)
class Waiter:
    """An activation that waits for a container."""

    number: int
    """Who came earlier has a lower one."""
    since: float
    """Clock's time at which it came."""
    moved: bool
    """A container did not take it: it wants one of its own, unless another is free."""
    granted: asyncio.Future["PooledContainer"] = field(repr=False)
    """A share of a container, lent from the moment at which it is granted."""
    reason: StartReason | None = None
    """Why it is to start, or initialise, what it was granted; `None` if that serves already."""
    joined: "PooledContainer | None" = None
    """It has a share of this one, and waits until somebody else has initialised it."""
    waits: tuple[WaitReason, ...] = ()
    """Why it has waited so far."""


class ContainerLogs:
    """A container's `Output`, and the logs of the activations in it, as long as these can be told apart.

    They can't when several are in it at once (spec 9.11.12): who has logs was alone from begin to end.
    """

    __slots__ = ("_follower", "_on_closed", "_running", "_shared", "settled", "write")

    def __init__(self, follower: LogFollower, on_closed: Callable[[], None]) -> None:
        """`on_closed` is told that the container is gone."""
        self._follower = follower
        self._on_closed = on_closed
        self._running = 0
        """Activations that have begun and not ended."""
        self._shared = False
        """More than one has been there since the last time there was none."""
        self.write = follower.write
        """See `Output.write`."""
        self.settled = follower.settled
        """See `LogFollower.settled`."""

    def closed(self) -> None:
        """See `Output.closed`."""
        self._follower.closed()
        self._on_closed()

    def begin(self, request: Request, limit: int) -> None:
        """From here on output belongs to this activation, which may log `limit` bytes, as long as it is alone."""
        self._running += 1
        self._shared = self._running > 1
        if self._shared:
            self._follower.join(request)
        else:
            self._follower.begin(request, limit)

    @property
    def alone(self) -> bool:
        """Whether the activation that is in the container has been the only one since it began."""
        return not self._shared

    def end(self, *, expected: bool, failed: bool) -> Logs:
        """Return the logs of an activation that ends, no lines if it was not alone: see `LogFollower.end`."""
        self._running -= 1
        if self._running:
            return _NO_LOGS
        logs = self._follower.end(expected=expected, failed=failed)
        return Logs((), reusable=logs.reusable) if self._shared else logs


@dataclass(eq=False, slots=True)
class PooledContainer:
    """A container, lent in as many shares as it has. `on_gone` is told when it has ended."""

    spec: ContainerSpec
    follower: InitVar[LogFollower]
    born: float
    """Clock's time at which its start began."""
    on_gone: Callable[["PooledContainer"], None]
    prewarmed: bool = False
    """Started before anybody asked for it."""

    logs: ContainerLogs = field(init=False)
    memory: int = field(init=False)
    """Bytes that are reserved for it until it is removed."""
    state: State = State.STARTING
    since: float = field(init=False)
    """Clock's time at which that began."""
    container: Container | None = None
    """`None` until the runtime has created it."""
    reason: StartReason | None = None
    """Why it was started; `None` for a prewarmed one that nobody has taken."""
    initialised: bool = False
    """`/init` succeeded."""
    gone: bool = False
    """It has ended by itself."""
    doomed: bool = False
    """To be removed as soon as nobody uses it (spec 10.11.1)."""

    shares: int = 1
    """Activations that it may serve at the same time (`limits.concurrency`, spec 10.12.1)."""
    active: int = 0
    """Shares that are lent."""
    served: int = 0
    """Shares that came back."""
    joiners: dict[Waiter, None] = field(default_factory=dict)
    """Those who have a share and wait until it is initialised."""

    may_pause: bool = False
    """The runtime can pause it, and the operator wants that."""
    paused: bool = False
    """Paused, or about to be: to be resumed before it is used."""
    transition: asyncio.Task[str | None] | None = None
    """The pause or resumption that is under way; its result says why it failed."""
    pause_failures: int = 0

    def __post_init__(self, follower: LogFollower) -> None:
        self.logs = ContainerLogs(follower, self._closed)
        self.memory = self.spec.memory
        self.since = self.born

    @property
    def name(self) -> str:
        """What it is called: the runtime may have had to give it another name than it was asked for."""
        return self.spec.name if self.container is None else self.container.name

    def enter(self, state: State, now: float) -> None:
        """Note that it is in another state from now on."""
        self.state = state
        self.since = now

    def tell_joiners(self, failure: ContainerError | None = None) -> None:
        """Tell those who wait for `/init` that it succeeded, or take their shares back and tell them why it did not."""
        for waiter in list(islice(self.joiners, None if failure else STEP)):
            if waiter.granted.done():  # cancelled: it is about to give its share back
                continue
            del self.joiners[waiter]
            if failure is None:
                waiter.granted.set_result(self)
            else:
                self.active -= 1
                waiter.granted.set_exception(failure)
        if self.joiners and failure is None:
            asyncio.get_running_loop().call_soon(self.tell_joiners)

    def _closed(self) -> None:
        self.gone = True
        self.on_gone(self)


class ContainerFactory:
    """Creates containers, in memory that is reserved already."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        logs: LogExtractor,
        node: NodeSettings,
        limits: LimitsSettings,
        clock: Callable[[], float],
    ) -> None:
        self._runtime = runtime
        self._logs = logs
        self._clock = clock
        self._counter = count(1)
        self._prefix = f"wsk{_UNSAFE_IN_INSTANCE.sub('', node.unique_name or '')}{node.id}"
        self._environment = {} if node.api_host is None else {"__OW_API_HOST": node.api_host}  # spec 10.7.6
        if limits.max_concurrency > 1:  # for prewarmed ones too, of which nobody knows yet whom they will serve
            self._environment["__OW_ALLOW_CONCURRENT"] = "true"  # spec 10.12.6

    def container(
        self, spec: ContainerSpec, on_gone: Callable[[PooledContainer], None], *, prewarmed: bool = False
    ) -> PooledContainer:
        """Return a container that is not created yet; `spec` has the last part of its name."""
        name = f"{self._prefix}_{next(self._counter)}_{spec.name}"[:_LONGEST]
        spec = msgspec.structs.replace(spec, name=name, environment=self._environment)
        return PooledContainer(spec, self._logs.follow(spec), self._clock(), on_gone, prewarmed)

    async def create(self, container: PooledContainer) -> None:
        """Create a container.

        Raises:
            StartFailed: no container came of it.
            NoRoom: not now, for want of something that others hold.
        """
        container.container = await self._runtime.create(container.spec, container.logs)


def name_of(first: str, second: str) -> str:
    """Return the last part of a container's name (spec 10.9.1)."""
    return "_".join(_UNSAFE.sub("", word) for word in (first, second))
