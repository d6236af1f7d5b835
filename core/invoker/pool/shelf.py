"""Idle containers: the newest to reuse, the oldest to give up. Synchronous."""

from collections import OrderedDict, deque

from invoker.pool.slot import Slot, WarmKey


class Shelf:
    """Idle slots in the order in which they went idle. Owned by the pool."""

    def __init__(self) -> None:
        self._by_key: dict[WarmKey, deque[Slot]] = {}
        self._oldest_first: OrderedDict[Slot, None] = OrderedDict()
        self.memory = 0
        """Bytes that all of them hold."""

    def __len__(self) -> int:
        return len(self._oldest_first)

    def put(self, slot: Slot) -> None:
        """Shelve a slot that just went idle."""
        self._by_key.setdefault(slot.key, deque()).append(slot)
        self._oldest_first[slot] = None
        self.memory += slot.memory

    def take(self, key: WarmKey) -> Slot | None:
        """Take the slot of `key` that was used last: the others get a chance to become old."""
        slots = self._by_key.get(key)
        if not slots:
            return None
        slot = slots[-1]
        self.discard(slot)
        return slot

    def take_oldest(self) -> Slot | None:
        """Take the slot that has been idle longest, whatever its key."""
        for slot in self._oldest_first:
            self.discard(slot)
            return slot
        return None

    def oldest(self) -> Slot | None:
        """Look at the slot that has been idle longest."""
        return next(iter(self._oldest_first), None)

    def discard(self, slot: Slot) -> None:
        """Take `slot` off the shelf, if it is there."""
        if slot not in self._oldest_first:
            return
        del self._oldest_first[slot]
        self.memory -= slot.memory
        slots = self._by_key[slot.key]
        if slots[-1] is slot:  # nearly always: the newest is taken
            slots.pop()
        else:
            slots.remove(slot)
        if not slots:
            del self._by_key[slot.key]
