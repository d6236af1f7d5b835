"""The containers of one function and one caller, those who wait for them, and how long things took."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.pool.scaling import HOLD, LOSS, START, UNSEEN, WORTH, averaged, expected_wait, worth_starting
from invoker.pool.slot import Slot, WarmKey
from invoker.pool.view import FunctionView, StartReason, WaitReason


@dataclass(eq=False, slots=True)
class Waiter:
    """An activation that waits for a container, or for memory to start one."""

    fleet: "Fleet"
    executable: Executable
    request: Request
    since: float
    """When it joined those that it waits with."""
    reason: StartReason | None
    """Why it wants a container of its own; `None` while it waits for one of its function's."""
    granted: asyncio.Future[Slot] = field(repr=False)
    """A share of a container, lent from the moment it is granted."""
    overdue: float = 0.0
    """Clock's time from which it wants a container of its own."""
    reasons: tuple[WaitReason, ...] = ()
    """Why it has waited so far."""
    first: bool = False
    """What was granted is its own: a prewarmed container, or one that it has to start. It calls `/init`."""


class Fleet:
    """All the pool knows of one warm key. Owned by the pool; changed only between awaits."""

    __slots__ = (
        "_hold_is_first",
        "action",
        "gone",
        "granted_at",
        "hold",
        "idle",
        "key",
        "loss",
        "memory",
        "namespace",
        "ready",
        "slots",
        "spare",
        "start",
        "starting",
        "waiting",
    )

    def __init__(self, key: WarmKey, memory: int, namespace: str, action: str) -> None:
        self.key = key
        self.memory = memory
        """Bytes of each container."""
        self.namespace = namespace
        self.action = action
        """`path/name`."""
        self.slots: set[Slot] = set()
        """From before the creation until no more shares of them are lent."""
        self.idle: list[Slot] = []
        """Nobody uses them; the one used last is at the end."""
        self.spare: dict[Slot, None] = {}
        """In use, with a share to lend; only where `limits.concurrency` is above 1."""
        self.starting: dict[Slot, float] = {}
        """Not initialised yet, with the time at which their start began; the first is the oldest."""
        self.ready = 0
        """Shares of all that are initialised."""
        self.waiting: OrderedDict[Waiter, None] = OrderedDict()
        """In the order in which they came, whatever they wait for."""
        self.granted_at = 0.0
        """When one of those who wait was last let go."""
        self.hold: float | None = None
        """Seconds for which an activation keeps its share of a warm container; a moving average."""
        self._hold_is_first = False
        """All there is of it is a run that came right after an `/init`, which takes longer than others do."""
        self.loss: float | None = None
        """Containers that each activation costs, from 0 to 1; a moving average, `None` as long as it never cost one."""
        self.start: float | None = None
        """Seconds from the decision to start a container to the end of `/init`; a moving average."""
        self.gone: StartReason | None = None
        """What became of the last container."""

    @property
    def empty(self) -> bool:
        """Whether there is neither a container nor anybody who waits."""
        return not self.slots and not self.waiting

    def free(self) -> Slot | None:
        """Take the container that may be used at once: one in use that has a share to spare, or one that is idle."""
        if self.spare:
            best = None
            for slot in self.spare:
                if slot.initialised:
                    return slot
                best = best or slot
            return self.idle[-1] if self.idle else best
        return self.idle[-1] if self.idle else None

    def first_waiting(self) -> Waiter | None:
        """Return who came first: one that was just cancelled may not have left by itself yet."""
        while self.waiting:
            waiter = next(iter(self.waiting))
            if not waiter.granted.cancelled():
                return waiter
            del self.waiting[waiter]
        return None

    def ahead_of(self, waiter: Waiter) -> int:
        """Return how many wait who came before."""
        return next(number for number, other in enumerate(self.waiting) if other is waiter)

    def why_start(self, now: float, typical_start: float | None, ahead: int, *, always: bool) -> StartReason | None:
        """Say why one more activation, for which no container is free, gets one of its own; `None` if it should wait.

        `ahead` wait already. The one container of a function that nobody knows is waited for: see `Turns.ready`.
        """
        if not self.slots:
            return self.gone or StartReason.NEW
        if always:
            return StartReason.ALWAYS
        if self.hold is None and self.loss is None:
            return None
        start = self._start_cost(typical_start)
        oldest = next(iter(self.starting.values()), now)
        wait = expected_wait(
            hold=(self.hold or 0.0) + (self.loss or 0.0) * start,  # a share that is lost is free once it is replaced
            ahead=ahead,
            ready=self.ready,
            coming=sum(slot.shares for slot in self.starting),
            left=max(0.0, start - (now - oldest)),
        )
        return StartReason.BUSY if worth_starting(wait=wait, start=start) else None

    def patience(self, typical_start: float | None) -> float:
        """Return for how many seconds it is worth waiting for one of its containers."""
        return WORTH * self._start_cost(typical_start)

    def _start_cost(self, typical: float | None) -> float:
        """Return what a start takes; where this function never had one of its own, what starts take here."""
        if self.start is not None:
            return self.start
        return typical if typical is not None else UNSEEN

    def held(self, seconds: float) -> bool:
        """Take into account how long a share of a warm container was kept; say whether nothing was known of that."""
        if self.hold is None or self._hold_is_first:
            self.hold = averaged(None, seconds, HOLD)
            self._hold_is_first = False
            return True
        self.hold = averaged(self.hold, seconds, HOLD)
        return False

    def held_first(self, seconds: float) -> None:
        """Take a run that came right after `/init` for the rest, until one of these has ended."""
        if self.hold is None:
            self.hold = averaged(None, seconds, HOLD)
            self._hold_is_first = True

    def lost(self, containers: float) -> None:
        """Take into account whether an activation cost its container, 1, or left it for the next one, 0."""
        warm_before = self.hold is not None and not self._hold_is_first
        self.loss = averaged(0.0 if self.loss is None and warm_before else self.loss, containers, LOSS)

    def started(self, seconds: float) -> None:
        """Take into account how long a start took."""
        self.start = averaged(self.start, seconds, START)

    def view(self) -> FunctionView:
        """Return what operators see of it."""
        return FunctionView(
            namespace=self.namespace,
            action=self.action,
            containers=len(self.slots),
            waiting=len(self.waiting),
            hold=self.hold,
            start=self.start,
        )
