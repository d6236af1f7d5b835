"""Idle containers: the newest to reuse, the oldest to give up. Synchronous."""

from collections import OrderedDict
from collections.abc import Iterator

from invoker.pool.slot import Slot


class Shelf:
    """Idle slots in the order in which they went idle; each is in its fleet's list too. Owned by the pool."""

    def __init__(self) -> None:
        self._oldest_first: OrderedDict[Slot, None] = OrderedDict()
        self.memory = 0
        """Bytes that all of them hold."""

    def __len__(self) -> int:
        return len(self._oldest_first)

    def __iter__(self) -> Iterator[Slot]:
        """The one that has been idle longest comes first."""
        return iter(self._oldest_first)

    def put(self, slot: Slot) -> None:
        """Shelve a slot that just went idle."""
        assert slot.fleet is not None  # noqa: S101 (only what has served goes idle)
        slot.fleet.idle.append(slot)
        self._oldest_first[slot] = None
        self.memory += slot.spec.memory

    def oldest(self) -> Slot | None:
        """Look at the slot that has been idle longest."""
        return next(iter(self._oldest_first), None)

    def take_oldest(self) -> Slot | None:
        """Take the slot that has been idle longest, whatever its function."""
        slot = self.oldest()
        if slot is not None:
            self.discard(slot)
        return slot

    def discard(self, slot: Slot) -> None:
        """Take `slot` off the shelf, if it is there."""
        if slot not in self._oldest_first:
            return
        del self._oldest_first[slot]
        self.memory -= slot.spec.memory
        assert slot.fleet is not None  # noqa: S101 (see `put`)
        idle = slot.fleet.idle
        if idle[-1] is slot:  # nearly always: the newest is taken
            idle.pop()
        else:
            idle.remove(slot)
