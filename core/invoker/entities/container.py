"""Containers as the core sees them: what to start, what came back, how it ended."""

import enum
import signal
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from invoker.entities.runtimes import Runtime

_SIGNALS: Final = frozenset(signal.Signals)


class Stream(enum.Enum):
    """Where a container's output came out. The value is the word in a log line (spec 8.7.1)."""

    STDOUT = "stdout"
    STDERR = "stderr"


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. A runtime plugin needs to know nothing else about the function."""

    name: str
    """Unique on this node while the container lives; letters, digits, `_`, `.` and `-` (spec 10.9.1)."""
    runtime: Runtime
    memory: int
    """Limit in bytes, for all of the container's processes together."""
    namespace: str = ""
    """Invoking namespace, for labels; empty for a prewarmed container."""
    action: str = ""
    """`path/name` of the action, for labels; empty for a prewarmed container."""
    environment: Mapping[str, str] = {}
    """What the action proxy finds in its environment, beside what the runtime or the image puts there."""


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """How a container is, or how it ended."""

    running: bool
    known: bool = True
    """False: the runtime itself doesn't answer, so what became of the container is not the function's doing."""
    exit_code: int | None = None
    """Of the container's first process; negative is a signal's number; `None` while it runs or if nobody knows."""
    memory_exhausted: bool = False
    """It reached its memory limit, and was stopped or is about to be: one process of it may have been killed so far."""
    peak_memory: int | None = None
    """Bytes, where the runtime can tell."""
    remark: str = ""
    """What else its developer should know of its end: a sentence for the activation's log, empty as a rule."""

    @property
    def ending(self) -> str:
        """What its first process did: `exited with status 1`, `was killed by signal SIGKILL`; empty if nobody knows."""
        if self.exit_code is None:
            return ""
        if self.exit_code >= 0:
            return f"exited with status {self.exit_code}"
        number = -self.exit_code
        return f"was killed by signal {signal.Signals(number).name if number in _SIGNALS else number}"


Body: TypeAlias = bytes | bytearray
"""What is sent to an action proxy: JSON."""


class Reply(msgspec.Struct, frozen=True):
    """What an action proxy answered."""

    status: int
    body: bytes
    """At most as many bytes as the caller asked for."""
    length: int
    """Bytes the body had before it was cut."""

    @property
    def truncated(self) -> bool:
        """Whether the body was longer than the caller allowed."""
        return self.length > len(self.body)
