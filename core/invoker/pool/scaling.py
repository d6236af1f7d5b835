"""Start another container, or wait for one that is busy? Pure arithmetic; seconds throughout."""

from typing import Final

import msgspec

WORTH: Final = 1.25
"""A start must save this much of what it costs: it also takes the processor from whatever runs (a cold start on Docker
costs 100 ms of two cores), and averages are no promises."""

_WEIGHT: Final = 0.125
"""Of a new observation: an average follows a change within some eight activations."""


class Bounds(msgspec.Struct, frozen=True):
    """No single observation counts as less or more than this: a stopped clock or one hung call must not decide."""

    least: float
    most: float


HOLD: Final = Bounds(0.0001, 60.0)
START: Final = Bounds(0.01, 30.0)
LOSS: Final = Bounds(0.0, 1.0)
UNSEEN: Final = 1.0
"""What a start is taken to cost before there was one: what Docker needs for four at once on two cores, and a little."""


def averaged(average: float | None, observed: float, bounds: Bounds) -> float:
    """Return the moving average after one more observation; `None` is the average of none."""
    least, most = bounds.least, bounds.most
    bounded = least if observed < least else min(observed, most)
    return bounded if average is None else average + _WEIGHT * (bounded - average)


def expected_wait(*, hold: float, ahead: int, ready: int, coming: int, left: float) -> float:
    """Return how long one more activation is expected to wait for a share of a container.

    `hold` is how long each keeps its share; `ahead` are those who wait already. `ready` shares are all lent now and
    come free one after the other. So do `coming` ones from `left` seconds on: whoever starts or joined them is first.
    """
    work = hold * (ahead + 1)
    if ready and (not coming or work / ready <= left):
        return work / ready
    if not coming:
        return float("inf")
    return max(left, (work + coming * left) / (ready + coming))


def worth_starting(*, wait: float, start: float) -> bool:
    """Return whether a container of its own serves an activation so much sooner that it is worth it."""
    return wait > WORTH * start
