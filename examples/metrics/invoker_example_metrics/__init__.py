"""An observer: counts the activations of each action, and logs the ten busiest when the invoker stops."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from invoker import hookimpl
from invoker.contracts import MetricFamily, Observer
from invoker.entities.activation import Activation
from invoker.entities.request import Request

logger = logging.getLogger(__name__)


class Busiest(Observer):
    """Counts, and nothing else: it is called on the event loop, for every activation."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def finished(self, request: Request, activation: Activation) -> None:  # noqa: ARG002 (who asked is not counted)
        self.seen[activation.path] += 1

    def metrics(self) -> Sequence[MetricFamily]:
        return [MetricFamily("gauge_busiest_actions", "gauge", "Actions that ran", [({}, len(self.seen))])]


@hookimpl
@asynccontextmanager
async def open_observer() -> AsyncIterator[Observer]:
    busiest = Busiest()
    yield busiest
    for path, count in busiest.seen.most_common(10):
        logger.warning("%6d  /%s", count, path)
