"""Who gets which container, who waits, and who starts another (core/decisions/0006 and 0007)."""

import asyncio
import time
from collections import OrderedDict, deque
from typing import Final

from invoker.config import PoolSettings
from invoker.entities.activation import Outcome
from invoker.entities.function import Executable
from invoker.entities.runtimes import Runtimes
from invoker.errors import NoRoom, StartFailed
from invoker.pool.actions import ActionContainers, WarmKey
from invoker.pool.container import STEP, ContainerFactory, PooledContainer, Waiter
from invoker.pool.lifecycle import Containers
from invoker.pool.pausing import Pauser
from invoker.pool.prewarm import Prewarmer
from invoker.pool.snapshot import ColdStart, StartReason, WaitReason
from invoker.pool.wait_queue import WaitQueue

EARLY: Final = 0.0005
"""Seconds by which a timer may ring too early: uvloop's count milliseconds."""
RECENT: Final = 50
"""Cold starts that operators can look at."""


class Scheduler:
    """Gives containers to activations. All decisions are made between awaits.

    Who finds no container waits: for one of its own action's, while that is expected to be sooner than a start; for
    another otherwise. The queue for these is fair: nobody overtakes its head, with one exception that saves a cold
    start: a container that becomes free goes to the first of its own action, until nobody of the head's action has got
    anything for `pool.patience`. A share is lent from the moment at which it is granted.
    """

    def __init__(
        self, factory: ContainerFactory, settings: PoolSettings, runtimes: Runtimes, tasks: asyncio.TaskGroup
    ) -> None:
        self.clock = factory.clock
        self.queue = WaitQueue()
        self.containers = Containers(factory, settings, tasks, self.serve, self._look_soon)
        self.prewarmer = Prewarmer(runtimes, self.containers)
        self.pauser = Pauser(self.containers)
        self._settings = settings
        self.starts = dict.fromkeys(StartReason, 0)  # see `Pool`
        self.waits = dict.fromkeys(WaitReason, 0)  # likewise
        self.recent: deque[ColdStart] = deque(maxlen=RECENT)  # the last cold starts, the latest first
        self._stuck: ActionContainers | None = None  # the head of the queue, when it was last served in vain
        self._lack = WaitReason.STARTS  # what it lacked
        self._passed_over: OrderedDict[ActionContainers, None] = OrderedDict()  # for its sake, though they may have one
        self._more: asyncio.Handle | None = None  # more are served in the next turn of the event loop

    def take_warm(self, action: ActionContainers, now: float) -> PooledContainer | None:
        """Take a share of a container that is initialised and free, if nobody must not be overtaken for it."""
        if action.waiting or (self.queue.wanting and not self._may_overtake(action, now)):
            return None
        return self.containers.lend(action, now)

    async def obtain(
        self, key: WarmKey, executable: Executable, *, moved: bool
    ) -> tuple[ActionContainers, PooledContainer, StartReason | None]:
        """Wait for a container, or start one; say why, if whoever asks has to initialise it. Raises as a lease does."""
        action = self.containers.actions.of(key, executable)
        waiter = self._join(action, moved=moved)
        while True:
            try:
                container = await waiter.granted
            except asyncio.CancelledError:
                self._abandon(action, waiter)
                raise
            reason = waiter.reason
            if reason is None:
                return action, container, None
            if container.container is None:
                try:
                    await self.containers.create(container)
                except NoRoom:
                    self._wait_on(action, waiter, container)
                    continue
                except StartFailed:
                    self.starts[reason] += 1
                    raise
            self._note(action, container, reason)
            return action, container, reason

    def initialised(self, action: ActionContainers, container: PooledContainer, outcome: Outcome | None) -> None:
        """Note how `/init` ended: `None` for success."""
        patience = action.patience(self.containers.typical_start)
        self.containers.initialised(action, container, outcome)
        if outcome is None and action.alarm is not None:
            self._limit_patience(action, patience)

    def give_back(
        self,
        action: ActionContainers,
        container: PooledContainer,
        *,
        keep: bool,
        why: StartReason = StartReason.DIED,
        since: float | None,
        first: bool,
    ) -> None:
        """Take a share back; something ran in it `since` then, if that means anything, `first` if after `/init`."""
        container.active -= 1
        container.served += 1
        now = self.clock()
        if since is not None:
            if first:
                action.used_first(now - since)
            elif action.used(now - since):
                self._look_soon(action)
            if keep and action.loss is not None:
                action.lost(0.0)
        if not keep or container.doomed:
            self.containers.doom(action, container, why)
        elif action.waiting and self._may_overtake(action, now) and (waiter := self.queue.first(action)) is not None:
            container.active += 1
            self._grant(action, waiter, container, now)
            if not self._passed_over and self.queue.head() is self._stuck:  # for everybody else all is as it was
                return
        else:
            self.containers.give_back(action, container, now)
            if action.waiting:
                self._passed_over[action] = None
        if self.queue.wanting:
            self.serve()

    async def close(self) -> None:
        """Remove every container that nobody uses, and wait until all removals have ended."""
        await self.prewarmer.close()
        await self.containers.empty()
        self.pauser.close()

    # --- whose turn it is -------------------------------------------------------------------------------------

    def serve(self) -> bool:
        """Give those who wait what there is; return whether somebody still wants another container.

        The head of the queue gets what it needs, then the next, until one must go on waiting; then those are served who
        were passed over for it, if they may be. What is too much for one turn of the event loop is left for the next.
        """
        left = STEP
        while (head := self.queue.head()) is not None and left and self._serve_head(head):
            left -= 1
        self._stuck = head
        now = self.clock()
        while self._passed_over and left and self._may_overtake(action := next(iter(self._passed_over)), now):
            if self._serve_from_free(action, now):
                left -= 1
            else:
                del self._passed_over[action]
        if not left and self._more is None:
            self._more = asyncio.get_running_loop().call_soon(self._serve_more)
        if head is None:
            self.containers.nobody_waits()
        return head is not None

    def _serve_more(self) -> None:
        self._more = None
        self.serve()

    def _may_overtake(self, action: ActionContainers, now: float) -> bool:
        """Say whether what is free of an action may be used before the head of the queue has got what it needs."""
        head = self.queue.head()
        if head is None or head is action or self._lack is WaitReason.STARTS or head.wanted_since is None:
            return True
        return now - max(head.wanted_since, head.granted_at) < self._settings.patience

    def _serve_from_free(self, action: ActionContainers, now: float) -> bool:
        """Grant a share that is free to the first of its action; return whether there were both."""
        first = self.queue.first(action)
        if first is None:
            return False
        container = self.containers.lend(action, now) or self.containers.lend_warming(action)
        if container is not None:
            self._grant(action, first, container, now)
        return container is not None

    def _serve_head(self, action: ActionContainers) -> bool:
        """Give the action at the head of the queue what it needs, if that is there; return whether it was."""
        now = self.clock()
        if self._serve_from_free(action, now):
            return True
        wanted = self._next_start(action, now)
        if wanted is None:  # others have started what serves it sooner
            self.queue.drop(action)
            return True
        waiter, reason = wanted
        kind = self.prewarmer.kind_of(action.spec)
        container = None if kind is None else self.prewarmer.take(kind)
        if container is None:
            lack = self.containers.reserve(action.spec.memory)
            if lack is not None:
                self._lack = lack
                self._count(waiter, lack)
                return False
            if kind is not None:
                kind.cold_starts += 1
            container = self.containers.factory.container(action.spec, self.containers.gone)
        self.containers.enlist(action, container, reason)
        action.overdue -= reason is StartReason.OVERDUE
        waiter.reason = reason
        self._grant(action, waiter, container, now)
        if action.waiting and action.warming:
            self._passed_over[action] = None
        return True

    def _grant(self, action: ActionContainers, waiter: Waiter, container: PooledContainer, now: float) -> None:
        """Let a waiter go with a share that is lent to it, or have it wait until somebody else has initialised it."""
        action.granted_at = now
        self.queue.leave(action, waiter)
        if action.waiting and action.alarm is None:
            self._watch(action, now)
        if container.initialised or waiter.reason is not None:
            waiter.granted.set_result(container)
        else:
            waiter.joined = container
            container.joiners[waiter] = None

    # --- to wait, or to start another -------------------------------------------------------------------------

    def _next_start(self, action: ActionContainers, now: float) -> tuple[Waiter, StartReason] | None:
        """Say who of an action gets a container of its own next, and why; `None` if all are served sooner without."""
        first = self.queue.first(action)
        if first is None:
            return None
        if (moved := self.queue.first(action, moved=True)) is not None:
            return moved, StartReason.MOVED
        if action.containers and action.overdue and first.since <= action.due_until:
            return first, StartReason.OVERDUE
        always = self._settings.scale_out == "always"
        reason = action.why_start(now, self.containers.typical_start, len(action.waiting) - 1, always=always)
        if reason is StartReason.BUSY:  # who came last would wait longest
            return self.queue.first(action, reverse=True) or first, reason
        if reason is None and action.service_time is None:  # prewarmed for just this: an action that nobody knows
            kind = self.prewarmer.kind_of(action.spec)
            reason = StartReason.BUSY if kind is not None and kind.ready else None
        return None if reason is None else (first, reason)

    def _look_at(self, action: ActionContainers, now: float) -> None:
        """See whether those of an action who wait want another container, or can have one that is there."""
        if action.lendable:
            self._passed_over[action] = None
        if action.wanted_since is not None or self._next_start(action, now) is not None:
            self.queue.want(action, now)
        self.serve()

    def _look_soon(self, action: ActionContainers) -> None:
        """Look at an action that has a container less, or of which more is known; later, for much else goes on now."""
        if action.waiting:
            asyncio.get_running_loop().call_soon(lambda: self._look_at(action, self.clock()))

    def _limit_patience(self, action: ActionContainers, before: float) -> None:
        """Have those who wait do so no longer than a start is worth by what is known of starts now, not `before`.

        If nobody knows the action, they begin anew: how long a start took says nothing of how long a run will take.
        """
        now = self.clock()
        patience = action.patience(self.containers.typical_start)
        unknown = action.service_time is None and len(action.containers) - len(action.starting) == 1
        first = self.queue.first(action)
        if first is not None and (unknown or action.waits_since(first) + before > now + patience):
            action.patient_from = action.due_until = now
            action.overdue = 0
        self._watch(action, now)

    def _watch(self, action: ActionContainers, now: float) -> None:
        """Have the first of those who wait for an action's containers looked at when it has waited for too long."""
        if action.alarm is not None:
            action.alarm.cancel()
            action.alarm = None
        if action.containers and (first := self.queue.first(action)) is not None:
            patience = action.patience(self.containers.typical_start)
            due = action.waits_since(first) + patience
            if first.since <= action.due_until:
                if action.overdue:  # it gets the next container anyway
                    return
                due = min(due, now + patience / 4)  # it waits once more, but those behind it may not have yet
            action.alarm = asyncio.get_running_loop().call_later(max(0.0, due - now), self._ring, action)

    def _ring(self, action: ActionContainers) -> None:
        """Have those who have waited for too long get containers of their own.

        At most as many as there are containers, so that these double at most: when the machine was busy elsewhere, all
        who wait are overdue at once. The others wait once more. All of them if the action runs and never ended yet.
        """
        action.alarm = None
        now = self.clock()
        first = self.queue.first(action)
        patience = action.patience(self.containers.typical_start)
        if first is not None and action.containers and action.waits_since(first) + patience <= now + EARLY:
            slow = action.service_time is None and action.ready
            action.overdue = len(action.waiting) if slow else len(action.containers)
            action.due_until = max(first.since, now - patience)
            action.patient_from = now
            self._look_at(action, now)
        self._watch(action, now)

    def _join(self, action: ActionContainers, *, moved: bool) -> Waiter:
        """Have an activation wait, if there is nothing for it at once."""
        now = self.clock()
        waiter = self.queue.join(action, now, moved=moved)
        if action.alarm is None:
            self._watch(action, now)
        if action.wanted_since is None or action.lendable:
            self._look_at(action, now)
        if waiter in action.waiting:
            self._count(waiter, WaitReason.SOONER if action.wanted_since is None else self._lack)
        return waiter

    def _wait_on(self, action: ActionContainers, waiter: Waiter, container: PooledContainer) -> None:
        """Have those wait on, before all others of their action, for whose container there is no room."""
        action.overdue += waiter.reason is StartReason.OVERDUE
        waiters = [waiter, *(joiner for joiner in container.joiners if not joiner.granted.cancelled())]
        for one in waiters:
            container.joiners.pop(one, None)
            self._count(one, WaitReason.ROOM)
        self.queue.return_to_front(action, waiters)
        self.containers.no_room(container)
        now = self.clock()
        self._watch(action, now)
        self._look_at(action, now)

    def _count(self, waiter: Waiter, reason: WaitReason) -> None:
        """Count a wait, once: who waits may change its mind many times."""
        if reason not in waiter.waits:
            waiter.waits += (reason,)
            self.waits[reason] += 1

    def _abandon(self, action: ActionContainers, waiter: Waiter) -> None:
        """Undo what a waiter that was cancelled may already have been granted."""
        granted = waiter.granted
        container = waiter.joined
        if granted.cancelled() or not granted.done():
            self.queue.leave(action, waiter)
            if container is not None:
                container.joiners.pop(waiter, None)
        else:  # where it fails, the share was taken back
            container = None if granted.exception() is not None else granted.result()
        if container is None:
            self._watch(action, self.clock())
        elif waiter.reason is not None and container.container is None:
            self.containers.forsake(container)
        else:
            self.give_back(action, container, keep=waiter.reason is None, since=None, first=False)
        self.containers.actions.settle(action)
        self.serve()

    def _note(self, action: ActionContainers, container: PooledContainer, reason: StartReason) -> None:
        self.starts[reason] += 1
        at = time.time_ns() // 1_000_000
        spec = action.spec
        self.recent.appendleft(
            ColdStart(at, spec.namespace, spec.action, container.name, reason.value, container.prewarmed)
        )
