"""Who waits for a container, in the order they came."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from invoker.pool.slot import Slot, WarmKey


@dataclass(eq=False)
class Waiter:
    """An activation that waits for a container, or for memory to start one."""

    key: WarmKey
    memory: int
    since: float
    granted: asyncio.Future[Slot | None] = field(repr=False)
    """A warm slot, or `None`: `memory` bytes are reserved for a container of its own."""


class Queue(OrderedDict[Waiter, None]):
    """Waiters in the order they came, and for each warm key too: a long queue is never searched. Owned by the pool.

    A dictionary itself, so that asking whether anybody waits, twice in each invocation, costs nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._by_key: dict[WarmKey, OrderedDict[Waiter, None]] = {}
        self._granted: dict[WarmKey, float] = {}
        """When a waiter of a key was last let go, while others of it wait."""

    def append(self, waiter: Waiter) -> None:
        """Join at the end."""
        self[waiter] = None
        self._by_key.setdefault(waiter.key, OrderedDict())[waiter] = None

    def head(self) -> Waiter | None:
        """Return who is next."""
        return self._first(self)

    def first_of(self, key: WarmKey) -> Waiter | None:
        """Return the next one whom a container of `key` serves."""
        return self._first(self._by_key.get(key, OrderedDict()))

    def stuck_since(self, waiter: Waiter) -> float:
        """Return since when nobody of a waiter's key has got anything."""
        return max(waiter.since, self._granted.get(waiter.key, 0.0))

    def grant(self, waiter: Waiter, slot: Slot | None, now: float) -> None:
        """Let a waiter go with what it gets."""
        self._granted[waiter.key] = now
        self.leave(waiter)
        waiter.granted.set_result(slot)

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter, if it is still here."""
        if waiter not in self:
            return
        del self[waiter]
        same = self._by_key[waiter.key]
        del same[waiter]
        if not same:
            del self._by_key[waiter.key]
            self._granted.pop(waiter.key, None)

    def _first(self, waiters: OrderedDict[Waiter, None]) -> Waiter | None:
        """Return the first that still waits: one that was just cancelled may not have left by itself yet."""
        while waiters:
            waiter = next(iter(waiters))
            if not waiter.granted.cancelled():
                return waiter
            self.leave(waiter)
        return None
