"""An observer: counts activations of each action and logs the ten busiest when the invoker stops.

The whole plugin is below. `activation_finished` is called on the event loop for every activation, so it only counts.
"""

import atexit
import logging
from collections import Counter

from invoker import hookimpl
from invoker.entities.activation import Activation

seen: Counter[str] = Counter()


@hookimpl
def activation_finished(activation: Activation) -> None:
    """Count one activation."""
    seen[activation.path] += 1


@atexit.register
def tell() -> None:
    """Log the busiest actions."""
    for path, count in seen.most_common(10):
        logging.getLogger(__name__).warning("%6d  /%s", count, path)
