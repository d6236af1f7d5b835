"""The pool: the only way to a container, the owner of them all and of every task about one."""

import asyncio
import itertools
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from invoker.config import NodeSettings, PoolSettings
from invoker.contracts import ContainerRuntime, LogExtractor
from invoker.entities.container import ContainerSpec
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.pool.budget import MemoryBudget
from invoker.pool.lease import Lease
from invoker.pool.queue import Queue, Waiter
from invoker.pool.shelf import Shelf
from invoker.pool.slot import Slot, State, WarmKey

logger = logging.getLogger("invoker.pool")

_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")


@asynccontextmanager
async def container_pool(
    runtime: ContainerRuntime,
    logs: LogExtractor,
    settings: PoolSettings,
    node: NodeSettings,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator["Pool"]:
    """Run a pool; leaving removes every container. Leases must have ended by then."""
    async with asyncio.TaskGroup() as tasks:
        pool = Pool(runtime, logs, settings, node, tasks, clock)
        sweeper = tasks.create_task(_sweep(pool, settings.idle_timeout), name="idle containers")
        try:
            yield pool
        finally:  # drain inside the group: a group that is left by an exception cancels its tasks
            sweeper.cancel()
            await pool.empty()


async def _sweep(pool: "Pool", idle_timeout: float) -> None:
    while True:
        await asyncio.sleep(min(idle_timeout / 4, 60))
        pool.remove_expired()


class Pool:
    """Every container of this invoker.

    Memory is reserved before a container is created and released when it is gone, so that the sum never exceeds the
    budget (spec T76). Who finds no container queues. The queue is fair: nobody overtakes its head, with one exception
    that saves a cold start: a container that becomes free goes to the first waiter of its own function, until nobody
    of the head's function has got anything for `patience` seconds.
    """

    def __init__(
        self,
        runtime: ContainerRuntime,
        logs: LogExtractor,
        settings: PoolSettings,
        node: NodeSettings,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
    ) -> None:
        self._runtime = runtime
        self._logs = logs
        self._settings = settings
        self._tasks = tasks
        self._clock = clock
        self._budget = MemoryBudget(settings.memory)
        self._shelf = Shelf()
        self._queue = Queue()
        self._slots: set[Slot] = set()
        """Every container from before its creation until after its removal."""
        self._removing = 0
        """Bytes of containers whose removal is under way."""
        self._removals: set[asyncio.Task[None]] = set()
        self._counter = itertools.count(1)
        self._prefix = f"wsk{_UNSAFE_IN_NAMES.sub('', node.unique_name or '')}{node.id}"

    # --- for the invocation -----------------------------------------------------------------------------------

    def lease(self, executable: Executable, request: Request) -> Lease:
        """Return the way to a container for one activation."""
        return Lease(self, executable, request)

    def take_warm(self, key: WarmKey) -> Slot | None:
        """Take an idle container of `key`, if there is one and nobody must not be overtaken for it."""
        if self._queue and not self._may_overtake(key):
            return None
        slot = self._shelf.take(key)
        if slot is not None:
            slot.state = State.BUSY
        return slot

    async def obtain(self, key: WarmKey, executable: Executable, request: Request) -> Slot:
        """Queue for a container of `key` or for the memory of a new one; then start it.

        Raises:
            StartFailed: it could not be started.
        """
        memory = executable.function.limits.memory_bytes
        waiter = Waiter(key, memory, self._clock(), asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        self._serve()
        try:
            slot = await waiter.granted
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        return slot if slot is not None else await self._create(key, executable, request)

    def give_back(self, slot: Slot, *, keep: bool) -> None:
        """Take a container back from a lease."""
        if not keep or slot.gone:
            self._remove(slot)
        elif self._queue and (waiter := self._next_for(slot.key)) is not None:
            self._queue.grant(waiter, slot, self._clock())
        else:
            slot.state = State.IDLE
            slot.idle_since = self._clock()
            self._shelf.put(slot)
        if self._queue:
            self._serve()

    # --- for the owner ----------------------------------------------------------------------------------------

    def remove_expired(self) -> None:
        """Remove containers that have been idle for too long (spec 10.1)."""
        before = self._clock() - self._settings.idle_timeout
        while (slot := self._shelf.oldest()) is not None and slot.idle_since <= before:
            self._shelf.discard(slot)
            self._remove(slot)

    async def empty(self) -> None:
        """Remove every idle container and wait until all removals have ended."""
        while (slot := self._shelf.take_oldest()) is not None:
            self._remove(slot)
        while self._removals:
            await asyncio.wait(self._removals)

    async def peak_memory(self) -> int | None:
        """Return the most memory that any living container has used, in bytes, where the runtime can tell."""
        states = [await slot.container.inspect() for slot in self._slots if slot.container is not None]
        return max((state.peak_memory for state in states if state.peak_memory is not None), default=None)

    @property
    def memory_used(self) -> int:
        """Bytes of all containers, those that are being started or removed included."""
        return self._budget.used

    def count(self, state: State) -> int:
        """Return how many containers are in `state`."""
        return sum(slot.state is state for slot in self._slots)

    @property
    def waiting(self) -> int:
        """Activations that wait for a container."""
        return len(self._queue)

    # --- inside -----------------------------------------------------------------------------------------------

    def _may_overtake(self, key: WarmKey) -> bool:
        head = self._queue.head()
        if head is None or head.key == key:
            return True
        return self._clock() - self._queue.stuck_since(head) < self._settings.patience

    def _next_for(self, key: WarmKey) -> Waiter | None:
        return self._queue.first_of(key) if self._may_overtake(key) else None

    def _serve(self) -> None:
        """Give the head of the queue what it needs, then the next, until one must go on waiting."""
        while (head := self._queue.head()) is not None:
            slot = self._shelf.take(head.key)
            if slot is not None:
                slot.state = State.BUSY
            elif not self._budget.reserve(head.memory):
                self._make_room(head.memory)
                return
            self._queue.grant(head, slot, self._clock())

    def _make_room(self, needed: int) -> None:
        """Evict the containers that have been idle longest, if together they make the difference (spec 10.4)."""
        shortage = needed - self._budget.free - self._removing
        if shortage > self._shelf.memory:
            return
        while shortage > 0 and (slot := self._shelf.take_oldest()) is not None:
            shortage -= slot.memory
            self._remove(slot)

    def _abandon(self, waiter: Waiter) -> None:
        """Undo what a waiter that was cancelled may already have been granted."""
        if not waiter.granted.done() or waiter.granted.cancelled():
            self._queue.leave(waiter)
        elif (slot := waiter.granted.result()) is not None:
            self.give_back(slot, keep=True)
        else:
            self._budget.release(waiter.memory)
        self._serve()

    async def _create(self, key: WarmKey, executable: Executable, request: Request) -> Slot:
        """Start a container in memory that is already reserved."""
        spec = self._spec(executable, request)
        slot = Slot(key, spec.memory, self._logs.follow(spec), self._on_gone)
        self._slots.add(slot)  # registered before the call: no reconciliation takes it for a stranger
        try:
            slot.container = await self._runtime.create(spec, slot)
        except BaseException:
            self._forget(slot)
            raise
        slot.state = State.BUSY
        return slot

    def _spec(self, executable: Executable, request: Request) -> ContainerSpec:
        function = executable.function
        words = (request.caller.namespace, function.name)
        cleaned = "_".join(_UNSAFE_IN_NAMES.sub("", word) for word in words)
        return ContainerSpec(
            name=f"{self._prefix}_{next(self._counter)}_{cleaned}"[:200],
            runtime=executable.runtime,
            memory=function.limits.memory_bytes,
            namespace=request.caller.namespace,
            action=function.document_id,
        )

    def _on_gone(self, slot: Slot) -> None:
        """Drop an idle container that died; a busy one is its lease's business."""
        if slot.state is State.IDLE:
            self._shelf.discard(slot)
            self._remove(slot)

    def _remove(self, slot: Slot) -> None:
        slot.state = State.REMOVING
        self._removing += slot.memory
        removal = self._tasks.create_task(self._removal(slot), name="container removal")
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def _removal(self, slot: Slot) -> None:
        assert slot.container is not None  # noqa: S101 (only what was created is removed)
        try:
            await slot.container.remove()
        except Exception:  # a plugin's failure must not end the pool; the runtime removes what is left when it closes
            logger.exception("container %s could not be removed", slot.container.name)
        finally:
            self._removing -= slot.memory
            self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        self._slots.discard(slot)
        self._budget.release(slot.memory)
        self._serve()
