"""What plugins and the core promise each other: small protocols, checked once when something is opened.

They grow by new contracts, not by new methods. Sizes are bytes, times are seconds unless a name says otherwise.
"""

from contextlib import AbstractAsyncContextManager
from typing import TypeAlias, TypeVar

from invoker.contracts.containers import (
    Container,
    ContainerRuntime,
    Networked,
    Output,
    Pausable,
    Stocked,
    Sweeping,
    Watched,
)
from invoker.contracts.door import NO_CONTEXT, Admission, Admitted, Answers, Intake, Operations, OperatorDoor
from invoker.contracts.logs import LogExtractor, LogFollower, Logs
from invoker.contracts.stores import ActivationReader, ActivationStore, FunctionCatalog, FunctionStore

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
    "Networked",
    "Opening",
    "Operations",
    "OperatorDoor",
    "Output",
    "Pausable",
    "Stocked",
    "Sweeping",
    "Watched",
]
