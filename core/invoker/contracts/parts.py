"""What every part that a plugin opens can tell operators."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

Sample: TypeAlias = tuple[Mapping[str, str], float]
"""Labels, and the value. Labels come from the code, never from a message."""


class MetricFamily(msgspec.Struct, frozen=True):
    """One metric with all its samples, as they are now."""

    name: str
    """As Prometheus has it; a counter's without `_total`."""
    type: Literal["counter", "gauge"]
    help: str
    samples: Sequence[Sample]


class Part:
    """What an `open_*` hook yields is one: inherit this, or delegate to something that does.

    The core calls the methods and never asks for a type, so that a wrapper may delegate everything it doesn't change
    (`__getattr__`). What is optional has a default here.
    """

    def faults(self) -> Sequence[str]:
        """Return why this part can't work now, one short text each; empty when all is well. Readiness goes by it."""
        return ()

    def metrics(self) -> Sequence[MetricFamily]:
        """Return this part's metrics. Asked for at every scrape; names start with the plugin's."""
        return ()
