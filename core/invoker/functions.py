"""Functions on their way from the store to the pool: a cache with one fetch for many waiters, and their limits."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from invoker.config import Compat, FunctionsSettings, LimitsSettings
from invoker.contracts import FunctionStore
from invoker.entities.function import Executable, Function, FunctionRef, Limits
from invoker.entities.request import NARROWS_NOTHING, CallerLimits
from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import FunctionUnreadable, InvokerError, StoreUnavailable
from invoker.wire.function import with_digest

logger = logging.getLogger("invoker.functions")

_Key: TypeAlias = tuple[str, str]
"""Document id and revision, as the message named them (spec 6.7.4)."""

_SMALLEST = 1024
"""Bytes that an entry counts at least: the structs around its code."""


@asynccontextmanager
async def function_cache(
    store: FunctionStore,
    runtimes: Runtimes,
    settings: FunctionsSettings,
    *,
    exact: bool,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator["FunctionCache"]:
    """Run a cache in front of `store`; leaving cancels fetches that nobody can wait for any more."""
    async with asyncio.TaskGroup() as tasks:
        cache = FunctionCache(store, runtimes, settings, exact=exact, tasks=tasks, clock=clock)
        sweeper = tasks.create_task(_sweep(cache, settings.idle_timeout), name="function cache")
        try:
            yield cache
        finally:
            sweeper.cancel()
            cache.abandon()


async def _sweep(cache: "FunctionCache", idle_timeout: float) -> None:
    while True:
        await asyncio.sleep(min(idle_timeout / 4, 60))
        cache.drop_idle()


@dataclass(slots=True)
class _Entry:
    executable: Executable
    size: int
    last_used: float


class FunctionCache:
    """Functions that can run here, by document and revision, within a bound in bytes and idle time.

    A message without a revision always gets what the store has now (spec 6.7.4, T32).
    """

    def __init__(
        self,
        store: FunctionStore,
        runtimes: Runtimes,
        settings: FunctionsSettings,
        *,
        exact: bool,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._runtimes = runtimes
        self._settings = settings
        self._exact = exact
        self._tasks = tasks
        self._clock = clock
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        """Least recently used first."""
        self._fetches: dict[_Key, tuple[asyncio.Future[Executable], asyncio.Task[None]]] = {}
        self.size = 0
        """Bytes of all entries."""
        self.hits = 0
        self.misses = 0

    def cached(self, ref: FunctionRef) -> Executable | None:
        """Return the function if it is here; never waits."""
        if ref.revision is None:
            return None
        key = (ref.document_id, ref.revision)
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.last_used = self._clock()
        self._entries.move_to_end(key)
        self.hits += 1
        return entry.executable

    async def fetch(self, ref: FunctionRef) -> Executable:
        """Return the function from the store. Many that want the same wait for one fetch.

        Raises:
            StoreError: as `FunctionStore.fetch`, or a kind that nothing here runs (`FunctionUnreadable`).
        """
        self.misses += 1
        if ref.revision is None:
            return await self._load(ref)
        key = (ref.document_id, ref.revision)
        fetch = self._fetches.get(key)
        if fetch is None:
            future: asyncio.Future[Executable] = asyncio.get_running_loop().create_future()
            task = self._tasks.create_task(self._fill(key, ref, future), name="function fetch")
            fetch = self._fetches[key] = (future, task)
        return await asyncio.shield(fetch[0])  # one that gives up doesn't spoil it for the others

    def drop_idle(self) -> None:
        """Drop what nobody asked for in `idle_timeout` (spec 6.7.5)."""
        before = self._clock() - self._settings.idle_timeout
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.last_used > before:
                return
            self._drop(key)

    def abandon(self) -> None:
        """Cancel the fetches under way; the owner calls it when no invocation is left."""
        for _, task in self._fetches.values():
            task.cancel()

    async def _fill(self, key: _Key, ref: FunctionRef, future: asyncio.Future[Executable]) -> None:
        try:
            executable = await self._load(ref)
        except Exception as error:  # noqa: BLE001 (whoever waits is told; a group must not end for it)
            future.set_exception(error)
            future.exception()  # looked at: the last waiter may be gone by now
        except asyncio.CancelledError:
            future.cancel()
            raise
        else:
            self._keep(key, executable)
            future.set_result(executable)
        finally:
            del self._fetches[key]

    async def _load(self, ref: FunctionRef) -> Executable:
        limit: float = self._settings.fetch_timeout
        try:
            async with asyncio.timeout(limit):
                function = await self._store.fetch(ref, exact=self._exact and ref.revision is not None)
        except InvokerError:
            raise
        except TimeoutError as error:
            raise StoreUnavailable(f"the function store gave no answer in {limit:g} s") from error
        except Exception as error:  # a plugin's failure is a store that doesn't answer
            logger.exception("the function store failed on %s", ref.document_id)
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        runtime = self._runtime_of(function)
        if not function.digest:
            function = await asyncio.to_thread(with_digest, function) if function.is_large else with_digest(function)
        return Executable(function, runtime)

    def _runtime_of(self, function: Function) -> Runtime:
        if function.image is not None:
            return self._runtimes.blackbox(function.image)
        runtime = self._runtimes.resolve(function.kind)
        if runtime is None:
            known = ", ".join(sorted(each.kind for each in self._runtimes)) or "none"
            raise FunctionUnreadable(
                function.document_id,
                f"nothing here runs kind {function.kind!r}; kinds: {known}",
                executable=function.kind != "sequence",  # spec 6.7.8
            )
        if runtime.require_main and not function.main:
            raise FunctionUnreadable(function.document_id, f"kind {runtime.kind!r} needs an entry point")
        return runtime

    def _keep(self, key: _Key, executable: Executable) -> None:
        size = max(_SMALLEST, len(executable.function.code or ""))
        if size > self._settings.cache_bytes:
            return
        self._entries[key] = _Entry(executable, size, self._clock())
        self.size += size
        while self.size > self._settings.cache_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: _Key) -> None:
        self.size -= self._entries.pop(key).size


_REFUSED = "requirement failed: "
"""What upstream's language puts before such texts (spec 11.1)."""


class LimitsCheck:
    """Whether an action's limits are allowed here, and for this caller (spec 6.6.3, 11.1).

    `system` decides, and `pool_memory`, in bytes: a larger function could never run (spec T80).
    """

    def __init__(self, system: LimitsSettings, pool_memory: int, compat: Compat) -> None:
        self._system = system
        self._max_memory = min(system.max_memory, pool_memory >> 20)
        self._logs_scale = 1 if compat == "openwhisk" else 1024  # documents count logs in KB there (spec T30)
        self._by_system = lru_cache(maxsize=1024)(lambda limits: self._check(limits, NARROWS_NOTHING))
        """Most callers narrow nothing, and most actions have one of a few sets of limits."""
        self._log_unit = "MB" if compat == "openwhisk" else "KB"

    def violation(self, limits: Limits, caller: CallerLimits) -> str | None:
        """Return the text of the first limit that is broken, in upstream's order, or `None`."""
        if caller is NARROWS_NOTHING:
            return self._by_system(limits)
        return self._check(limits, caller)

    def _check(self, limits: Limits, caller: CallerLimits) -> str | None:
        system, scale = self._system, self._logs_scale
        time, memory = (system.min_timeout, system.max_timeout), (system.min_memory, self._max_memory)
        logs = (system.min_logs * scale, system.max_logs * scale)
        shared = (system.min_concurrency, system.max_concurrency)
        violations = (
            _outside("duration", " milliseconds", limits.timeout, time, caller.min_timeout, caller.max_timeout),
            _outside("memory size", " MB", limits.memory, memory, caller.min_memory, caller.max_memory),
            _outside("concurrency", "", limits.concurrency, shared, caller.min_concurrency, caller.max_concurrency),
            _outside("log size", f" {self._log_unit}", limits.logs, logs, caller.min_logs, caller.max_logs),
        )
        return next((text for text in violations if text is not None), None)


def _outside(
    what: str, unit: str, value: int, system: tuple[int, int], at_least: int | None, at_most: int | None
) -> str | None:
    """Bounds are inclusive (spec 6.6.3); a caller may narrow the system's, not widen them."""
    minimum = system[0] if at_least is None else max(system[0], at_least)
    maximum = system[1] if at_most is None else min(system[1], at_most)
    if value > maximum:
        return f"{_REFUSED}{what} {value}{unit} exceeds allowed threshold of {maximum}{unit}"
    if value < minimum:
        return f"{_REFUSED}{what} {value}{unit} below allowed threshold of {minimum}{unit}"
    return None
