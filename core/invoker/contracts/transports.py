"""Transports: a message in, answers out. The core owns what becomes of a message; a transport only carries."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from invoker.contracts.parts import Part
from invoker.entities.activation import Ack, Activation
from invoker.entities.request import Request

NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})


class Admitted(msgspec.Struct, frozen=True):
    """A message the invoker has room for. Hand it to `Intake.invoke`, always, once."""

    request: Request
    size: int
    """Bytes of the message."""
    via: str
    """The transport it came by."""
    context: Mapping[str, str]
    """What else its sender said, for the log only; untrusted."""


class Answers(ABC):
    """How one caller is told. A transport makes one for each message, the core drives it.

    The order is always `accepted`, then `result` at most once and only if `splits`, then `completed` exactly once. What
    is raised here means that the caller can't be told; it is logged and changes nothing else. An answer that takes
    longer than `intake.answer_timeout` seconds (while stopping: `shutdown.answers`) is cancelled.
    """

    __slots__ = ()

    splits: bool = False
    """Whether `result` may come before `completed`; a transport with one answer says no."""

    @abstractmethod
    async def accepted(self) -> None:
        """The receipt: from here on the invocation is ours, whatever becomes of the caller."""

    async def result(self, activation: Activation) -> None:
        """Tell the result of a blocking invocation whose logs are late; `activation` has no logs."""
        raise NotImplementedError

    @abstractmethod
    async def completed(self, activation: Activation, ack: Ack) -> None:
        """Tell that the slot is free, as `ack` says: `COMBINED`, `SHRUNK` or `COMPLETION`.

        Called when the record is as safe as `recording.safety` asks, and never cancelled but for the time limit.
        """


class Intake(Protocol):
    """The core's side, given to every transport."""

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str] = NO_CONTEXT) -> Admitted:
        """Decide about a message before its receipt; never waits.

        `via` is the transport's name; `context` goes into the activation's log line as it is.

        Raises:
            Draining: the invoker takes no new work any more.
            MalformedRequest: it is no activation message, or too large.
            Busy: there is no room for it now.
        """
        ...

    def invoke(self, admitted: Admitted, answers: Answers) -> None:
        """Run it to its end: receipt, function, record, answer. Returns at once: the core owns the task that does it.

        Stopping waits for it, so that a transport, which is left when all have ended, has nothing to keep.
        """
        ...

    def reserve(self, size: int) -> None:
        """Count `size` bytes of a message that is on its way, and kept until it is whole.

        They take room as messages do that wait; give them back with `release` before you ask `admit`.

        Raises:
            Busy: there is no room for them now.
        """
        ...

    def release(self, size: int) -> None:
        """Give back what was reserved."""
        ...

    async def room(self, size: int) -> None:
        """Wait until a message of `size` bytes would be admitted, those who wait in the order they came.

        For transports that fetch: what can't be queued is better left where it is. Nothing is reserved.

        Raises:
            Draining: the invoker takes no new work any more.
        """
        ...


class Operations(Protocol):
    """What an operator may ask the invoker; given to transports that serve operators too."""

    def draining(self) -> bool:
        """Return whether no new work is taken any more, since the invoker is about to stop."""
        ...

    def faults(self) -> Sequence[str]:
        """Return why no work should be sent here now, one short text each; empty when all is well."""
        ...

    def metrics(self) -> bytes:
        """Return all metrics in Prometheus' text format, version 0.0.4."""
        ...

    def info(self) -> Mapping[str, object]:
        """Return who this is and what it runs with, as JSON-able values without secrets."""
        ...

    def pool(self) -> Mapping[str, object]:
        """Return the containers and why they were started, as JSON-able values."""
        ...


class Admission(Part, ABC):
    """Turns messages away after their receipt, such as those of a blocked namespace."""

    @abstractmethod
    def refusal(self, request: Request) -> str | None:
        """Return the error text the caller gets, or `None` to let it pass. Never waits."""


class Observer(Part, ABC):
    """Sees activations as they end."""

    @abstractmethod
    def finished(self, request: Request, activation: Activation) -> None:
        """See an activation that has ended, after its record was taken and before its answer leaves.

        Called on the event loop: return within 100 µs, don't block. What is raised is logged and goes no further.
        """
