"""One container of the pool, its output, those who wait for it, and the pool of those that nobody uses."""

import asyncio
import enum
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from itertools import count, islice
from typing import Final, TypeAlias

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

    number: int  # who came earlier has a lower one
    since: float  # clock's time at which it came
    moved: bool  # a container did not take it: it wants one of its own, unless another is free
    granted: asyncio.Future["PooledContainer"]  # a share, lent from the moment at which it is granted
    reason: StartReason | None = None  # why it is to start or initialise that; `None` if it serves already
    joined: "PooledContainer | None" = None  # it has a share of this, and waits until somebody else has initialised it
    waits: tuple[WaitReason, ...] = ()  # why it has waited so far


class ContainerLogs:
    """A container's `Output`, and the logs of the activations in it, as long as these can be told apart.

    They can't when several are in it at once (spec 9.11.12): who has logs was alone from begin to end.
    """

    __slots__ = ("_follower", "_on_closed", "_running", "_shared", "settled", "write")

    def __init__(self, follower: LogFollower, on_closed: Callable[[], None]) -> None:
        """`on_closed` is told that the container is gone."""
        self._follower = follower
        self._on_closed = on_closed
        self._running = 0  # activations that have begun and not ended
        self._shared = False  # more than one has been there since the last time there was none
        self.write = follower.write
        self.settled = follower.settled

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

    def end(self, *, expected: bool, error: str | None = None) -> Logs:
        """Return the logs of an activation that ends, no lines if it was not alone: see `LogFollower.end`."""
        self._running -= 1
        if self._running:
            return _NO_LOGS
        logs = self._follower.end(expected=expected, error=error)
        return Logs((), reusable=logs.reusable) if self._shared else logs


@dataclass(eq=False, slots=True)
class PooledContainer:
    """A container, lent in as many shares as it has. `on_gone` is told when it has ended."""

    spec: ContainerSpec
    follower: InitVar[LogFollower]
    born: float  # clock's time at which its start began
    on_gone: Callable[["PooledContainer"], None]
    prewarmed: bool = False  # started before anybody asked for it
    logs: ContainerLogs = field(init=False)
    memory: int = field(init=False)  # bytes that are reserved for it until it is removed
    state: State = State.STARTING
    since: float = field(init=False)  # clock's time at which that began
    container: Container | None = None  # `None` until the runtime has created it
    reason: StartReason | None = None  # why it was started; `None` for a prewarmed one that nobody has taken
    initialised: bool = False  # `/init` succeeded
    gone: bool = False  # it has ended by itself
    doomed: bool = False  # to be removed as soon as nobody uses it (spec 10.11.1)

    shares: int = 1  # activations that it may serve at the same time (`limits.concurrency`, spec 10.12.1)
    active: int = 0  # shares that are lent
    served: int = 0  # shares that came back
    joiners: dict[Waiter, None] = field(default_factory=dict)  # who has a share and waits until it is initialised

    may_pause: bool = False  # the runtime can, and the operator wants it
    paused: bool = False  # or about to be: to be resumed before it is used
    transition: asyncio.Task[str | None] | None = None  # of a pause or resumption; its result says why it failed
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


FreeList: TypeAlias = OrderedDict[PooledContainer, None]
"""The one that became free last is at the end."""


class FreePool:
    """Containers that nobody uses, in the order in which that began. Each is in its action's or kind's list, too."""

    def __init__(self) -> None:
        self._oldest_first: OrderedDict[PooledContainer, FreeList] = OrderedDict()
        self.unpaused: OrderedDict[PooledContainer, float] = OrderedDict()  # could be paused since then
        self.memory = 0  # bytes of all of them

    def __iter__(self) -> Iterator[PooledContainer]:
        return iter(self._oldest_first)

    def put(self, container: PooledContainer, free: FreeList) -> None:
        """Take a container that nobody uses any more, or yet, and put it at the end of `free`."""
        free[container] = None
        self._oldest_first[container] = free
        self.memory += container.memory
        if container.may_pause:
            self.may_pause(container, container.since)

    def may_pause(self, container: PooledContainer, since: float) -> None:
        """Note since when a container could be paused, if it is here and can be."""
        if container.may_pause and not container.paused and container in self._oldest_first:
            self.unpaused[container] = since

    def discard(self, container: PooledContainer) -> bool:
        """Take a container out; return whether it was there."""
        free = self._oldest_first.pop(container, None)
        if free is None:
            return False
        del free[container]
        self.memory -= container.memory
        if container.may_pause:
            self.unpaused.pop(container, None)
        return True


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
        self.clock = clock
        self._counter = count(1)
        self._prefix = f"wsk{_UNSAFE_IN_INSTANCE.sub('', node.unique_name or '')}{node.id}"
        self._environment = {} if node.api_host is None else {"__OW_API_HOST": node.api_host}  # spec 10.7.6
        self._shared = self._environment | {"__OW_ALLOW_CONCURRENT": "true"}  # spec 10.12.6
        self._concurrent = limits.max_concurrency > 1

    def container(
        self, spec: ContainerSpec, on_gone: Callable[[PooledContainer], None], *, prewarmed: bool = False
    ) -> PooledContainer:
        """Return a container that is not created yet; `spec` has the last part of its name."""
        name = f"{self._prefix}_{next(self._counter)}_{spec.name}"[:_LONGEST]
        shared = (
            self._concurrent and spec.runtime.shareable
        )  # prewarmed ones too: nobody knows yet whom they will serve
        spec = msgspec.structs.replace(spec, name=name, environment=self._shared if shared else self._environment)
        return PooledContainer(spec, self._logs.follow(spec), self.clock(), on_gone, prewarmed)

    async def create(self, container: PooledContainer) -> None:
        """Create a container. Raises as `ContainerRuntime.create` does."""
        container.container = await self._runtime.create(container.spec, container.logs)


def name_of(first: str, second: str) -> str:
    """Return the last part of a container's name (spec 10.9.1)."""
    return "_".join(_UNSAFE.sub("", word) for word in (first, second))
