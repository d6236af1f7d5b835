"""What plugins and the core promise each other. Sizes are bytes, times are seconds unless a name says otherwise.

What a plugin gives the core is a small class to inherit, with a default for what is optional; what the core gives a
plugin is a protocol. They are checked once, when something is opened, and grow by methods with defaults.
"""

from contextlib import AbstractAsyncContextManager
from typing import TypeAlias, TypeVar

from invoker.contracts.containers import Container, ContainerRuntime, Output
from invoker.contracts.logs import LogExtractor, LogFollower, Logs
from invoker.contracts.parts import MetricFamily, Part, Sample
from invoker.contracts.stores import ActivationReader, ActivationStore, FunctionCatalog, FunctionStore
from invoker.contracts.transports import NO_CONTEXT, Admission, Admitted, Answers, Intake, Observer, Operations

T_co = TypeVar("T_co", covariant=True)
Opening: TypeAlias = AbstractAsyncContextManager[T_co]
"""What an `open_*` hook returns: entering makes the object ready, leaving gives everything back."""

__all__ = [
    "NO_CONTEXT",
    "ActivationReader",
    "ActivationStore",
    "Admission",
    "Admitted",
    "Answers",
    "Container",
    "ContainerRuntime",
    "FunctionCatalog",
    "FunctionStore",
    "Intake",
    "LogExtractor",
    "LogFollower",
    "Logs",
    "MetricFamily",
    "Observer",
    "Opening",
    "Operations",
    "Output",
    "Part",
    "Sample",
]
