"""The containers of one action and caller, and whether another is worth its start. Seconds throughout."""

import asyncio
from collections import OrderedDict
from typing import Final, TypeAlias

import msgspec

from invoker.entities.container import ContainerSpec
from invoker.entities.function import Executable
from invoker.pool.container import PooledContainer, Waiter, name_of
from invoker.pool.snapshot import ActionSnapshot, StartReason

REMEMBERED: Final = 2000
"""Actions without containers whose averages are kept; one takes about a kilobyte."""

WORTH: Final = 1.25
"""A start must save this much of what it costs: it also takes the processor from whatever runs (a cold start on Docker
costs 100 ms of two cores), and averages are no promises."""

_WEIGHT: Final = 0.125
"""Of a new observation: an average follows a change within some eight activations."""

WarmKey: TypeAlias = tuple[bytes, str, str | None]
"""Activations with equal keys may use the same container (spec 10.2.1, T37): digest of the action, its revision left out;
invoking namespace (10.2.3); binding, whose init parameters live in the container's environment (10.2.2)."""


class Bounds(msgspec.Struct, frozen=True):
    """No single observation counts as less or more than this: a stopped clock or one hung call must not decide."""

    least: float
    most: float


SERVICE_TIME: Final = Bounds(0.0001, 60.0)
START_TIME: Final = Bounds(0.01, 30.0)
LOSS: Final = Bounds(0.0, 1.0)
UNSEEN: Final = 1.0
"""What a start is taken to cost before there was one: what Docker needs for four at once on two cores, and a little."""


def averaged(average: float | None, observed: float, bounds: Bounds) -> float:
    """Return the moving average after one more observation; `None` is the average of none."""
    least, most = bounds.least, bounds.most
    bounded = least if observed < least else min(observed, most)
    return bounded if average is None else average + _WEIGHT * (bounded - average)


def expected_wait(*, service_time: float, ahead: int, ready: int, coming: int, left: float) -> float:
    """Return how long one more activation is expected to wait for a share of a container.

    `service_time` is how long each keeps its share; `ahead` are those who wait already. `ready` shares are all lent now
    and come free one after the other. So do `coming` ones from `left` seconds on: whoever starts or joined them is first.
    """
    work = service_time * (ahead + 1)
    if ready and (not coming or work / ready <= left):
        return work / ready
    if not coming:
        return float("inf")
    return max(left, (work + coming * left) / (ready + coming))


def worth_starting(*, wait: float, start: float) -> bool:
    """Return whether a container of its own serves an activation so much sooner that it is worth it."""
    return wait > WORTH * start


class ActionContainers:
    """The containers of one action and invoking namespace, those who wait for them, and how long things took.

    Owned by the pool; changed only between awaits.
    """

    __slots__ = (
        "_service_time_is_first",
        "alarm",
        "coming",
        "concurrency",
        "containers",
        "due_until",
        "gone",
        "granted_at",
        "idle",
        "key",
        "loss",
        "moved",
        "overdue",
        "patient_from",
        "queued_as",
        "ready",
        "service_time",
        "shared",
        "spec",
        "start_time",
        "starting",
        "waiting",
        "wanted_since",
        "warming",
    )

    def __init__(self, key: WarmKey, executable: Executable) -> None:
        function = executable.function
        self.key = key
        _, namespace, _ = key
        self.spec = ContainerSpec(
            name=name_of(namespace, function.name),
            runtime=executable.runtime,
            memory=function.limits.memory_bytes,
            namespace=namespace,
            action=function.document_id,
        )
        """Of each container, but for the beginning of its name, and its environment."""
        self.concurrency = function.limits.concurrency
        """Shares of each container."""
        self.containers: set[PooledContainer] = set()
        """From before the creation until no more shares of them are lent."""
        self.idle: OrderedDict[PooledContainer, None] = OrderedDict()
        """Nobody uses them; the one used last is at the end."""
        self.shared: OrderedDict[PooledContainer, None] = OrderedDict()
        """In use, with a share to lend; only where `concurrency` is above 1."""
        self.warming: OrderedDict[PooledContainer, None] = OrderedDict()
        """Not initialised yet, with a share to lend; likewise."""
        self.starting: OrderedDict[PooledContainer, float] = OrderedDict()
        """Not initialised yet, with the time at which their start began; the first is the oldest."""
        self.ready = 0
        """Shares of all that are initialised."""
        self.coming = 0
        """Shares of all that are starting."""
        self.waiting: OrderedDict[Waiter, None] = OrderedDict()
        """Those without a share, in the order in which they came."""
        self.moved: OrderedDict[Waiter, None] = OrderedDict()
        """Those of them that want a container of their own."""
        self.wanted_since: float | None = None
        """Clock's time from which another container has been wanted; `None` if none is."""
        self.queued_as = 0
        """Number of the entry in the queue of those that want one, while this does."""
        self.granted_at = 0.0
        """When one of those who wait was last given a share."""
        self.overdue = 0
        """How many of those who came before `due_until` may have a container of their own, for they waited in vain."""
        self.due_until = 0.0
        self.patient_from = 0.0
        """Clock's time from which those who came before `due_until` wait anew."""
        self.alarm: asyncio.TimerHandle | None = None
        """Rings when whoever came first has waited in vain, or earlier."""
        self.service_time: float | None = None
        """Seconds for which an activation keeps its share of a warm container; a moving average."""
        self._service_time_is_first = False
        """All there is of it is a run that came right after an `/init`, which takes longer than others do."""
        self.loss: float | None = None
        """Containers that each activation costs, from 0 to 1; a moving average, `None` as long as it never cost one."""
        self.start_time: float | None = None
        """Seconds from the decision to start a container to the end of `/init`; a moving average."""
        self.gone: StartReason | None = None
        """What became of the last container."""

    @property
    def empty(self) -> bool:
        """Whether there is neither a container nor anybody who waits."""
        return not self.containers and not self.waiting

    @property
    def lendable(self) -> bool:
        """Whether there is a share to lend."""
        return bool(self.idle or self.shared or self.warming)

    # --- to wait, or to start another -------------------------------------------------------------------------

    def why_start(self, now: float, typical_start: float | None, ahead: int, *, always: bool) -> StartReason | None:
        """Say why one more activation, for which no container is free, gets one of its own; `None` if it should wait.

        `ahead` wait already. The one container of an action that nobody knows is waited for: see `Scheduler.ready`.
        """
        if not self.containers:
            return self.gone or StartReason.NEW
        if always:
            return StartReason.ALWAYS
        if self.service_time is None and self.loss is None:
            return None
        start = self._start_cost(typical_start)
        oldest = next(iter(self.starting.values()), now)
        wait = expected_wait(  # a share that is lost is free once it is replaced
            service_time=(self.service_time or 0.0) + (self.loss or 0.0) * start,
            ahead=ahead,
            ready=self.ready,
            coming=self.coming,
            left=max(0.0, start - (now - oldest)),
        )
        return StartReason.BUSY if worth_starting(wait=wait, start=start) else None

    def patience(self, typical_start: float | None) -> float:
        """Return for how many seconds it is worth waiting for one of its containers."""
        return WORTH * self._start_cost(typical_start)

    def waits_since(self, waiter: Waiter) -> float:
        """Return the clock's time from which the patience of a waiter counts."""
        return waiter.since if waiter.since > self.due_until else self.patient_from

    def _start_cost(self, typical: float | None) -> float:
        """Return what a start takes; where this action never had one of its own, what starts take here."""
        if self.start_time is not None:
            return self.start_time
        return typical if typical is not None else UNSEEN

    # --- what was seen ----------------------------------------------------------------------------------------

    def used(self, seconds: float) -> bool:
        """Take into account how long a share of a warm container was kept; say whether nothing was known of that."""
        if self.service_time is None or self._service_time_is_first:
            self.service_time = averaged(None, seconds, SERVICE_TIME)
            self._service_time_is_first = False
            return True
        self.service_time = averaged(self.service_time, seconds, SERVICE_TIME)
        return False

    def used_first(self, seconds: float) -> None:
        """Take a run that came right after `/init` for the rest, until one of these has ended."""
        if self.service_time is None:
            self.service_time = averaged(None, seconds, SERVICE_TIME)
            self._service_time_is_first = True

    def lost(self, containers: float) -> None:
        """Take into account whether an activation cost its container, 1, or left it for the next one, 0."""
        warm_before = self.service_time is not None and not self._service_time_is_first
        self.loss = averaged(0.0 if self.loss is None and warm_before else self.loss, containers, LOSS)

    def started(self, seconds: float) -> None:
        """Take into account how long a start took."""
        self.start_time = averaged(self.start_time, seconds, START_TIME)

    def snapshot(self) -> ActionSnapshot:
        """Return what operators see of it."""
        return ActionSnapshot(
            namespace=self.spec.namespace,
            action=self.spec.action,
            containers=len(self.containers),
            waiting=len(self.waiting),
            service_time=self.service_time,
            start_time=self.start_time,
        )


class KnownActions:
    """All actions that have a container or somebody who waits, and those that lately had. Owned by the pool."""

    def __init__(self) -> None:
        self._actions: dict[WarmKey, ActionContainers] = {}
        self._empty: OrderedDict[WarmKey, None] = OrderedDict()
        self.get = self._actions.get
        """Return what is known of a key: on every activation's way."""
        self.values = self._actions.values

    def of(self, key: WarmKey, executable: Executable) -> ActionContainers:
        """Return what is known of a key, which gets a container or a waiter now."""
        action = self._actions.get(key)
        if action is None:
            action = self._actions[key] = ActionContainers(key, executable)
        self._empty.pop(key, None)
        return action

    def settle(self, action: ActionContainers) -> None:
        """Note that an action may have become empty; forget the one that has been so for longest."""
        if not action.empty or self._actions.get(action.key) is not action:  # forgotten while its last one was in use
            return
        self._empty[action.key] = None
        self._empty.move_to_end(action.key)
        if len(self._empty) > REMEMBERED:
            key, _ = self._empty.popitem(last=False)
            del self._actions[key]
