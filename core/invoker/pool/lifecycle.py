"""The life of containers: from the memory that is reserved for one until that memory is given back."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from invoker.config import PoolSettings
from invoker.entities.activation import Outcome
from invoker.errors import Aborted, NoRoom, StartFailed, Unreachable
from invoker.pool.actions import START_TIME, ActionContainers, KnownActions, averaged
from invoker.pool.container import STEP, ContainerFactory, FreeList, FreePool, PooledContainer, State
from invoker.pool.snapshot import StartReason, WaitReason

logger = logging.getLogger("invoker.pool")

GRACE: Final = 5.0
"""Seconds for which stopping waits for removals: the runtime, which closes next, has a limit of its own for others."""
FIRST_BACK_OFF: Final = 0.1
LAST_BACK_OFF: Final = 5.0
"""Seconds until a runtime that had no room is asked again though nothing has gone, doubled from first to last."""
SLOW: Final = 2.0
"""Seconds after which a container that is being created takes no turn from others: its image is being pulled, say."""


@dataclass(eq=False)
class Containers:
    """Every container of this invoker, and the memory they share. Owned by the scheduler, which decides who gets which.

    Memory is reserved before a container is created and released when it is gone, so that the sum never exceeds what
    there is (spec T76).
    """

    factory: ContainerFactory
    settings: PoolSettings
    tasks: asyncio.TaskGroup
    serve: Callable[[], bool]  # gives what is free to those who wait; says whether somebody still wants another
    on_lost: Callable[[ActionContainers], None]  # is told of an action that has one container less
    used: int = 0  # bytes that are reserved, of `settings.memory`
    all: dict[PooledContainer, ActionContainers | None] = field(default_factory=dict)  # and what for; until removed
    actions: KnownActions = field(default_factory=KnownActions)
    free: FreePool = field(default_factory=FreePool)
    prewarmed: FreePool = field(default_factory=FreePool)  # ready for any action of their kind and memory
    typical_start: float | None = None  # seconds that starts take here, whatever the action; a moving average
    spare: asyncio.Event = field(default_factory=asyncio.Event)  # there may be memory for prewarmed containers
    clock: Callable[[], float] = field(init=False)
    _spare_refused: bool = False  # a prewarmed container had to stand back
    _removals: set[asyncio.Task[None]] = field(default_factory=set)
    _removing: int = 0  # bytes of containers whose removal is under way
    _creating: dict[PooledContainer, asyncio.TimerHandle] = field(default_factory=dict)  # not those that are slow
    _back_off: float = 0.0  # seconds for which the runtime was last not asked; 0 once it had room again
    _retry: asyncio.TimerHandle | None = None  # while it is not asked

    def __post_init__(self) -> None:
        self.clock = self.factory.clock

    def lend(self, action: ActionContainers, now: float) -> PooledContainer | None:
        """Lend a share of a container that is initialised: rather of one in use than of one that is idle."""
        if action.shared:
            container = next(iter(action.shared))
            container.active += 1
            if container.active == container.shares:
                del action.shared[container]
            return container
        if not action.idle:
            return None
        idle = next(reversed(action.idle))
        self.free.discard(idle)
        idle.active = 1
        if not idle.paused:
            idle.enter(State.BUSY, now)
        if idle.shares > 1:
            action.shared[idle] = None
        return idle

    def lend_warming(self, action: ActionContainers) -> PooledContainer | None:
        """Lend a share of a container that somebody else starts or initialises (spec 10.12.2)."""
        container = next(iter(action.warming), None)
        if container is not None:
            container.active += 1
            if container.active == container.shares:
                del action.warming[container]
        return container

    def give_back(self, action: ActionContainers, container: PooledContainer, now: float) -> None:
        """Keep a container of which a share came back for whoever comes."""
        if container.active:
            (action.shared if container.initialised else action.warming)[container] = None
            return
        if container.shares > 1:
            del action.shared[container]
        state = State.PAUSING if container.transition else State.PAUSED
        container.enter(state if container.paused else State.IDLE, now)
        self.free.put(container, action.idle)

    def initialised(self, action: ActionContainers, container: PooledContainer, outcome: Outcome | None) -> None:
        """Note how `/init` ended, `None` for success, and how long the start took."""
        if outcome is not None:
            container.tell_joiners(Aborted(outcome))
            self.doom(action, container)
            return
        container.initialised = True
        container.tell_joiners()
        began = action.starting.pop(container, None)
        if began is None:  # it has ended by itself meanwhile
            return
        action.coming -= container.shares
        action.ready += container.shares
        if container in action.warming:
            del action.warming[container]
            action.shared[container] = None
        if not container.prewarmed:
            seconds = self.clock() - began
            action.started(seconds)
            self.typical_start = averaged(self.typical_start, seconds, START_TIME)

    def doom(self, action: ActionContainers, container: PooledContainer, why: StartReason = StartReason.DIED) -> None:
        """Lend no further share; remove it when the last one is back (spec 10.11.1)."""
        self._lose(action, container, why)
        if not container.initialised:
            container.tell_joiners(Unreachable(f"{container.name} was not initialised"))
        if not container.active:
            self.remove(container)

    def gone(self, container: PooledContainer) -> None:
        """Drop a container that ended while nobody used it; the end of a busy one is its leases' business."""
        action = self.all.get(container)
        if container.active and action is not None:
            self._lose(action, container)
        elif self.free.discard(container):
            self.remove(container)

    def reserve(self, size: int) -> WaitReason | None:
        """Reserve memory for a container that an activation needs; say what is missing, and make room for it."""
        if self._retry is not None:
            if not self._removals:
                self._evict()
            return WaitReason.ROOM
        if self._no_turn():
            return WaitReason.STARTS
        if size > self.settings.memory - self.used:
            self._make_room(size)
            return WaitReason.MEMORY
        self.used += size
        return None

    def reserve_spare(self, size: int) -> WaitReason | None:
        """Reserve memory that nobody waits for, for a prewarmed container; say what is missing."""
        if self._retry is not None or self.serve():
            self._spare_refused = True
            return WaitReason.MEMORY if self._retry is None else WaitReason.ROOM
        if self._no_turn():
            return WaitReason.STARTS
        if size > self.settings.memory - self.used:
            return WaitReason.MEMORY
        self.used += size
        return None

    def _no_turn(self) -> bool:
        """Say whether as many are being created as may be at once: one, as long as the runtime has had no room."""
        return len(self._creating) >= (1 if self._back_off else self.settings.parallel_starts)

    def being_created(self, container: PooledContainer, action: ActionContainers | None = None) -> None:
        """Note a container, in memory that is reserved already, that is about to be created."""
        self.all[container] = action
        self._creating[container] = asyncio.get_running_loop().call_later(SLOW, self._pass_turn_on, container)

    def _end_turn(self, container: PooledContainer) -> None:
        if (timer := self._creating.pop(container, None)) is not None:
            timer.cancel()

    def _pass_turn_on(self, container: PooledContainer) -> None:
        self._end_turn(container)
        self._serve()

    def nobody_waits(self) -> None:
        """Remember the prewarmed containers that had to stand back."""
        if self._spare_refused:
            self._spare_refused = False
            self.spare.set()

    def release(self, container: PooledContainer) -> None:
        """Forget a container of which nothing is left, or nothing came, and serve those who wait for what it held."""
        self._end_turn(container)
        del self.all[container]
        self.used -= container.memory
        self._came_free()

    def _came_free(self) -> None:
        """Serve those who wait; what nobody waits for is for prewarmed containers."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._serve()

    def _serve(self) -> None:
        if not self.serve():
            self.spare.set()

    def no_room(self, container: PooledContainer) -> None:
        """Give up a container for which the runtime has no room: nobody is to blame.

        It is not asked again until a container has gone, or for a while.
        """
        if self._retry is None:  # those that were asked for at the same time are one refusal
            self._back_off = min(max(2 * self._back_off, FIRST_BACK_OFF), LAST_BACK_OFF)
            self._retry = asyncio.get_running_loop().call_later(self._back_off, self._came_free)
        self._end_turn(container)
        self._strike_off(container, None)
        del self.all[container]
        self.used -= container.memory
        self.serve()

    def _make_room(self, needed: int) -> None:
        """Evict what has been idle longest, then prewarmed ones, if together they make the difference (spec 10.4)."""
        enough = needed - (self.settings.memory - self.used)
        if enough <= self._removing + self.free.memory + self.prewarmed.memory:
            while self._removing < enough and self._evict():
                pass

    def _evict(self) -> bool:
        """Begin to remove the container that is wanted least, if there is one that nobody uses."""
        for pool in (self.free, self.prewarmed):  # an action that was asked for comes before one that may be (T78)
            for container in pool:
                pool.discard(container)
                self.remove(container, StartReason.EVICTED)
                return True
        return False

    def enlist(self, action: ActionContainers, container: PooledContainer, reason: StartReason) -> None:
        """Make a container one of an action's, lent to whoever initialises it. Others may join at once (10.12.2)."""
        now = self.clock()
        container.shares = action.concurrency
        container.reason = reason
        container.active = 1
        action.containers.add(container)
        action.starting[container] = now
        action.coming += container.shares
        if container.shares > 1:
            action.warming[container] = None
        if container.container is None:
            self.being_created(container, action)
        else:
            self.all[container] = action
            container.enter(State.BUSY, now)

    async def create(self, container: PooledContainer) -> None:
        """Create a container that is enlisted, in memory that is reserved already.

        Raises:
            StartFailed: no container came of it; all who joined fail alike (10.12.2).
            NoRoom: not now; see `no_room`.
        """
        try:
            await self.factory.create(container)
        except BaseException as error:
            if not isinstance(error, NoRoom):
                self.forsake(container, error if isinstance(error, StartFailed) else None)
            raise
        self.created(container, State.BUSY)
        self._serve()

    def created(self, container: PooledContainer, state: State) -> None:
        """Note that a container is there."""
        assert container.container is not None  # noqa: S101 (see above)
        self._end_turn(container)
        container.enter(state, self.clock())
        container.may_pause = self.settings.pause and container.container.pausable
        self._back_off = 0.0

    def keep_prewarmed(self, container: PooledContainer, ready: FreeList) -> None:
        """Keep a prewarmed container for whoever needs one."""
        if self.typical_start is None:  # until a start with an `/init` was seen
            self.typical_start = averaged(None, container.since - container.born, START_TIME)
        self.prewarmed.put(container, ready)
        self.serve()

    def forsake(self, container: PooledContainer, failure: StartFailed | None = None) -> None:
        """Give up a container that was enlisted and not created: those who wait for it only have to leave.

        Whoever was to start it never returns its share, so that nobody removes what is not there.
        """
        action = self.all[container]
        if failure is not None and action is not None and not action.ready:  # others that serve are waited for instead
            action.lost(1.0)
        self._strike_off(container, StartReason.DIED)
        container.tell_joiners(failure or Unreachable(f"{container.name} was not initialised"))
        self.release(container)

    def remove(self, container: PooledContainer, why: StartReason = StartReason.DIED) -> None:
        """Begin to remove a container that nobody uses."""
        self._strike_off(container, why)
        container.enter(State.REMOVING, self.clock())
        self._removing += container.memory
        removal = self.tasks.create_task(self._remove(container), name="container removal")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    def remove_expired(self) -> bool:
        """Remove some of the containers that have been idle for too long (spec 10.1); return whether there are more."""
        before = self.clock() - self.settings.idle_timeout
        for _ in range(STEP):
            container = next(iter(self.free), None)
            if container is None or container.since > before:
                return False
            self.free.discard(container)
            self.remove(container, StartReason.EXPIRED)
        return True

    async def empty(self) -> None:
        """Remove every container that nobody uses, and wait until all removals have ended, within limits."""
        while self._evict():
            if not len(self._removals) % STEP:
                await asyncio.sleep(0)
        if self._removals:
            _, late = await asyncio.wait(self._removals, timeout=GRACE)
            for removal in late:
                removal.cancel()

    async def _remove(self, container: PooledContainer) -> None:
        assert container.container is not None  # noqa: S101 (only what was created is removed)
        try:
            if container.transition is not None:  # no daemon likes to be asked for both at once
                await asyncio.wait({container.transition})
            await container.container.remove()
        except Exception:  # a plugin's failure must not end the pool; the runtime removes what is left when it closes
            logger.exception("container %s could not be removed", container.name)
        finally:
            self._removing -= container.memory
            self.release(container)

    def _lose(self, action: ActionContainers, container: PooledContainer, why: StartReason = StartReason.DIED) -> None:
        """Take a container that an activation cost from its action."""
        if not container.doomed:
            action.lost(1.0)
            self._strike_off(container, why)

    def _strike_off(self, container: PooledContainer, why: StartReason | None) -> None:
        """Take a container from its action, if it has one: no share of it is lent any more, and none is counted on."""
        container.doomed = True
        action = self.all.get(container)
        if action is None or container not in action.containers:
            return
        action.containers.discard(container)
        action.shared.pop(container, None)
        action.warming.pop(container, None)
        if action.starting.pop(container, None) is None:
            action.ready -= container.shares
        else:
            action.coming -= container.shares
        action.gone = why or action.gone
        self.actions.settle(action)
        self.on_lost(action)
