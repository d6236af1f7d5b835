"""One container in the pool: whose it is, what it holds, and its output on the way to the logs."""

import asyncio
import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from invoker.contracts import Container, LogFollower, Logs
from invoker.entities.activation import Outcome
from invoker.entities.container import ContainerSpec, Stream
from invoker.entities.request import Request
from invoker.errors import Aborted, ContainerError, Unreachable
from invoker.pool.view import StartReason

if TYPE_CHECKING:
    from invoker.pool.fleet import Fleet

_NOTHING = Logs(())


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
    PREWARMED = "prewarmed"
    BUSY = "busy"
    IDLE = "idle"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    REMOVING = "removing"


class Slot:
    """A container's place in the pool, and its `Output`. Owned by the pool, lent in as many shares as it has."""

    __slots__ = (
        "_failure",
        "_joined",
        "_on_gone",
        "_told",
        "active",
        "begun",
        "born",
        "container",
        "doomed",
        "fleet",
        "follower",
        "frozen",
        "gone",
        "initialised",
        "pause_failures",
        "reason",
        "refused_at",
        "served",
        "shares",
        "since",
        "spec",
        "state",
        "stem_cell",
        "transition",
    )

    def __init__(
        self, spec: ContainerSpec, follower: LogFollower, born: float, on_gone: Callable[["Slot"], None]
    ) -> None:
        self.spec = spec
        self.follower = follower
        self.born = born
        """Clock's time at which its start began."""
        self.since = born
        """Clock's time at which its present state began."""
        self.state = State.STARTING
        self.container: Container | None = None
        """`None` until the runtime has created it."""
        self.fleet: Fleet | None = None
        """The function it serves; `None` until there is one."""
        self.stem_cell = False
        """Started before anybody asked for it."""
        self.shares = 1
        """Activations it may serve at the same time (`limits.concurrency`, spec 10.12.1)."""
        self.active = 0
        """Shares that are lent."""
        self.served = 0
        """Shares that came back."""
        self.initialised = False
        """`/init` succeeded."""
        self.gone = False
        """Its output ended by itself: there is no container any more."""
        self.doomed = False
        """To be removed as soon as nobody uses it (spec 10.11.1)."""
        self.frozen = False
        """Paused, or about to be: to be resumed before it is used."""
        self.transition: asyncio.Task[str | None] | None = None
        """The pause or resumption that is under way; its result says why it failed."""
        self.pause_failures = 0
        self.refused_at = float("-inf")
        """Clock's time at which it last refused to be paused."""
        self.reason: StartReason | None = None
        """Why it was started; `None` for a stem cell that nobody has taken."""
        self.begun = 0
        """Activations whose output goes to the follower now."""
        self._joined = False
        """More than one has been at it since the last time there was none."""
        self._told: asyncio.Event | None = None
        """What those who came while it was being initialised wait for, if there are any."""
        self._failure: ContainerError | None = None
        """Why it was not initialised, and won't be."""
        self._on_gone = on_gone

    @property
    def name(self) -> str:
        """What it is called: the runtime may have had to give it another name than it was asked for."""
        return self.spec.name if self.container is None else self.container.name

    @property
    def memory(self) -> int:
        """Bytes taken from the budget until the container is removed."""
        return self.spec.memory

    @property
    def owner(self) -> "Fleet":
        """The function it serves, which there is whenever a share of it is lent."""
        assert self.fleet is not None  # noqa: S101 (see above)
        return self.fleet

    # --- output -----------------------------------------------------------------------------------------------

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Pass output on to the logs."""
        self.follower.write(stream, chunk)

    def closed(self) -> None:
        """Note that the container is gone, so that nobody is given it."""
        self.gone = True
        self.follower.closed()
        self._on_gone(self)

    def begin_logs(self, request: Request, limit: int) -> None:
        """An activation begins. Its logs can be told from others' only if it stays alone (spec 9.11.12)."""
        self.begun += 1
        if self.begun == 1:
            self._joined = False
            self.follower.begin(request, limit)
        else:
            self._joined = True
            self.follower.join(request)

    @property
    def alone(self) -> bool:
        """Whether the one activation that runs is the only one that has since it began."""
        return not self._joined

    def end_logs(self, *, expected: bool, failed: bool) -> Logs:
        """An activation has ended: return its logs, or no lines if there were others."""
        self.begun -= 1
        if self.begun:
            return _NOTHING
        logs = self.follower.end(expected=expected, failed=failed)
        return Logs((), reusable=logs.reusable) if self._joined else logs

    # --- those who share the initialisation ---------------------------------------------------------------------

    async def initialisation(self) -> None:
        """Wait until whoever holds the first share has initialised it.

        Raises:
            Aborted: `/init` failed; all who waited for it fail alike (spec 10.12.2).
            StartFailed: no container came of it; all who waited for it fail alike (spec 10.12.2).
            Unreachable: it never came so far; another container may serve.
        """
        if not self.initialised and self._failure is None:
            if self._told is None:
                self._told = asyncio.Event()
            await self._told.wait()
        if self._failure is not None:
            raise self._failure

    def initialised_with(self, outcome: Outcome | None) -> None:
        """Tell those who wait how `/init` ended: `None` for success."""
        self.initialised = outcome is None
        self._tell(None if outcome is None else Aborted(outcome))

    def never_initialised(self, failure: ContainerError | None = None) -> None:
        """Tell those who wait, and those who find out late, that nobody will call `/init` here any more."""
        if not self.initialised:
            self._tell(failure or Unreachable(f"{self.name} was not initialised"))

    def _tell(self, failure: ContainerError | None) -> None:
        if self._failure is None:
            self._failure = failure
        if self._told is not None:
            self._told.set()
