"""The containers of one action and caller, and whether another one is worth its start. Durations are in seconds."""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from invoker.entities.container import ContainerSpec
from invoker.entities.function import Executable
from invoker.pool.container import PooledContainer, Waiter, name_of
from invoker.pool.snapshot import ActionSnapshot, StartReason

logger = logging.getLogger("invoker.pool")

REMEMBERED: Final = 2000
"""Actions without containers whose averages are kept; one takes about a kilobyte."""
WORTH: Final = 1.25
"""A start must save this much of what it costs: it also takes the processor from whatever runs (a cold start on Docker
costs 100 ms of two cores), and averages are no promises."""
UNSEEN: Final = 1.0
"""What a start is taken to cost before there was one: what Docker needs for four at once on two cores, and a little."""
_WEIGHT: Final = 0.125
"""Of a new observation: an average follows a change within some eight activations."""

WarmKey: TypeAlias = tuple[bytes, str, str | None]
"""Activations with equal keys may use the same container (spec 10.2.1, T37): digest of the action, which leaves its
revision out; invoking namespace (10.2.3); binding, since its parameters are in the container's environment (10.2.2)."""


SERVICE_TIME: Final = (0.0001, 60.0)
START_TIME: Final = (0.01, 30.0)
LOSS: Final = (0.0, 1.0)
"""No single observation counts as less or more: a stopped clock or one hung call must not decide."""


def averaged(average: float | None, observed: float, bounds: tuple[float, float]) -> float:
    """Return the moving average after one more observation; `None` is the average of none."""
    least, most = bounds
    bounded = least if observed < least else min(observed, most)
    return bounded if average is None else average + _WEIGHT * (bounded - average)


def expected_wait(*, service_time: float, ahead: int, ready: int, coming: int, left: float) -> float:
    """Return how long one more activation is expected to wait for a share of a container.

    Each keeps its share for `service_time`; `ahead` wait already. `ready` shares are all lent now and come free one
    after the other. So do `coming` ones, from `left` seconds on: whoever starts or joined them is first.
    """
    work = service_time * (ahead + 1)
    if ready and (not coming or work / ready <= left):
        return work / ready
    if not coming:
        return float("inf")
    return max(left, (work + coming * left) / (ready + coming))


@dataclass(eq=False, slots=True)
class ActionContainers:
    """The containers of one action and invoking namespace, those who wait for them, and how long things took.

    Owned by the pool; changed only between awaits. Averages are `None` until there is something to average.
    """

    key: WarmKey
    spec: ContainerSpec  # of each container: only the last part of its name, and no environment
    concurrency: int  # shares of each container
    containers: set[PooledContainer] = field(default_factory=set)  # until no more shares of them are lent
    idle: OrderedDict[PooledContainer, None] = field(default_factory=OrderedDict)  # the one used last is at the end
    shared: OrderedDict[PooledContainer, None] = field(default_factory=OrderedDict)  # in use, with a share to lend
    warming: OrderedDict[PooledContainer, None] = field(default_factory=OrderedDict)  # the same, not initialised yet
    starting: OrderedDict[PooledContainer, float] = field(default_factory=OrderedDict)  # not initialised, since then
    ready: int = 0  # shares of all that are initialised
    coming: int = 0  # shares of all that are starting
    gone: StartReason | None = None  # what became of the last container

    waiting: OrderedDict[Waiter, None] = field(default_factory=OrderedDict)  # without a share; who came first is first
    moved: OrderedDict[Waiter, None] = field(default_factory=OrderedDict)  # those of them that another did not take
    granted_at: float = 0.0  # when one of them last got a share
    wanted_since: float | None = None  # from when on another container has been wanted; `None` if none is
    queued_as: int = 0  # number of the entry among those that want one, while this does
    overdue: int = 0  # of those who came until `due_until`, so many may have a container of their own
    due_until: float = 0.0
    patient_from: float = 0.0  # when those who came until `due_until` began to wait once more
    alarm: asyncio.TimerHandle | None = None  # rings when whoever came first has waited in vain, or earlier

    service_time: float | None = None  # for which an activation keeps its share of a warm container
    guessed: bool = False  # all there is of it is a run that came right after `/init`, which takes longer than others
    start_time: float | None = None  # from the decision to start a container to the end of `/init`
    loss: float | None = None  # containers that each activation costs, from 0 to 1; `None` if it never cost one

    @property
    def empty(self) -> bool:
        """Whether there is neither a container nor anybody who waits."""
        return not self.containers and not self.waiting

    @property
    def lendable(self) -> bool:
        """Whether there is a share to lend."""
        return bool(self.idle or self.shared or self.warming)

    def why_start(self, now: float, typical_start: float | None, ahead: int, *, always: bool) -> StartReason | None:
        """Say why one more activation, for which no container is free, gets one of its own; `None` if it should wait.

        `ahead` wait already. The one container of an action that nobody knows is waited for.
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
        return StartReason.BUSY if wait > WORTH * start else None

    def patience(self, typical_start: float | None) -> float:
        """Return for how long it is worth waiting for one of its containers."""
        return WORTH * self._start_cost(typical_start)

    def waits_since(self, waiter: Waiter) -> float:
        """Return the clock's time from which the patience of a waiter counts."""
        return waiter.since if waiter.since > self.due_until else self.patient_from

    def _start_cost(self, typical: float | None) -> float:
        """Return what a start takes; where this action never had one of its own, what starts take here."""
        if self.start_time is not None:
            return self.start_time
        return typical if typical is not None else UNSEEN

    def used(self, seconds: float) -> bool:
        """Take into account how long a share of a warm container was kept; say whether nothing was known of that."""
        news = self.service_time is None or self.guessed
        self.service_time = averaged(None if news else self.service_time, seconds, SERVICE_TIME)
        self.guessed = False
        return news

    def used_first(self, seconds: float) -> None:
        """Take a run that came right after `/init` for the rest, until one of these has ended."""
        if self.service_time is None:
            self.service_time = averaged(None, seconds, SERVICE_TIME)
            self.guessed = True

    def started(self, seconds: float) -> None:
        """Take into account how long a start took."""
        self.start_time = averaged(self.start_time, seconds, START_TIME)

    def lost(self, containers: float) -> None:
        """Take into account whether an activation cost its container, 1, or left it for the next one, 0."""
        warm_before = self.service_time is not None and not self.guessed
        self.loss = averaged(0.0 if self.loss is None and warm_before else self.loss, containers, LOSS)

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
        self.get = self._actions.get  # not a method, for it is on every activation's way
        self.values = self._actions.values

    def of(self, key: WarmKey, executable: Executable) -> ActionContainers:
        """Return what is known of a key, which gets a container or a waiter now."""
        action = self._actions.get(key)
        if action is None:
            _, namespace, _ = key
            function, limits = executable.function, executable.function.limits
            spec = ContainerSpec(
                name=name_of(namespace, function.name),
                runtime=executable.runtime,
                memory=limits.memory_bytes,
                namespace=namespace,
                action=function.document_id,
            )
            shares = limits.concurrency
            if shares > 1 and not executable.runtime.shareable:
                what = (
                    "action %s asks for %d activations at once in a container and gets 1: kind %s can't tell them apart"
                )
                logger.warning(what, function.document_id, shares, executable.runtime.kind)
                shares = 1
            action = self._actions[key] = ActionContainers(key, spec, shares)
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
