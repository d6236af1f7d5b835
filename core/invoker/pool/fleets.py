"""The fleets of all functions, and of those that lately had one."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from invoker.pool.fleet import Fleet
from invoker.pool.slot import WarmKey

REMEMBERED: Final = 2000
"""Functions without containers whose averages are kept; one takes about a kilobyte."""


class Fleets:
    """By warm key. Owned by the pool."""

    def __init__(self) -> None:
        self._fleets: dict[WarmKey, Fleet] = {}
        self._empty: OrderedDict[WarmKey, None] = OrderedDict()
        self.get = self._fleets.get
        """Return the fleet of a key, if it is known: on every activation's way."""

    def __iter__(self) -> Iterator[Fleet]:
        return iter(self._fleets.values())

    def of(self, key: WarmKey, memory: int, action: str) -> Fleet:
        """Return the fleet of a key, which gets a container or a waiter now."""
        fleet = self._fleets.get(key)
        if fleet is None:
            fleet = self._fleets[key] = Fleet(key, memory, key.namespace, action)
        self._empty.pop(key, None)
        return fleet

    def settle(self, fleet: Fleet) -> None:
        """Note that a fleet may have become empty; forget the one that has been so for longest."""
        if not fleet.empty or self._fleets.get(fleet.key) is not fleet:  # forgotten while its last container was in use
            return
        self._empty[fleet.key] = None
        self._empty.move_to_end(fleet.key)
        if len(self._empty) > REMEMBERED:
            key, _ = self._empty.popitem(last=False)
            del self._fleets[key]
