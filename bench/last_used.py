"""What a list of the last used would do: cold starts of a sequence of actions, played through without anything real."""

import heapq
from collections.abc import Sequence


class _Container:
    """One that the list has."""

    def __init__(self, action: int) -> None:
        self.action = action
        self.busy_until = 0.0
        self.used = 0


def misses(order: Sequence[int], places: int, clients: int, *, start: float, run: float) -> int:
    """Return how many starts it takes, where `clients` take turns at the sequence.

    Each client takes the next action once it is free. A container of that action serves it, when it is free; else the
    one that has been idle for longest is replaced, when there is one. `start` and `run` are seconds.
    """
    free_at = [0.0] * clients
    containers: list[_Container] = []
    count = 0
    for turn, action in enumerate(order):
        now = heapq.heappop(free_at)
        found = min((one for one in containers if one.action == action), key=lambda one: one.busy_until, default=None)
        if found is None:
            count += 1
            found, begin = _replaced(containers, places, action, now)
            found.busy_until = begin + start + run
        else:
            found.busy_until = max(now, found.busy_until) + run
        found.used = turn
        heapq.heappush(free_at, found.busy_until)
    return count


def _replaced(containers: list[_Container], places: int, action: int, now: float) -> tuple[_Container, float]:
    """Return a new container, and from when there is room for it."""
    begin = now
    if len(containers) >= places:
        idle = [one for one in containers if one.busy_until <= now]
        leaving = min(idle, key=lambda one: one.used) if idle else min(containers, key=lambda one: one.busy_until)
        begin = max(now, leaving.busy_until)
        containers.remove(leaving)
    containers.append(_Container(action))
    return containers[-1], begin
