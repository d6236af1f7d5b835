"""The door: a transport brings messages in and takes answers out."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

import msgspec

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


@runtime_checkable
class Answers(Protocol):
    """How one caller is told. A transport makes one for each message, the core drives it.

    The order is always `accepted`, then `result` at most once and only if `splits`, then `completed` exactly once.
    An exception raised here means that the caller can't be told; it is logged and changes nothing else.
    """

    @property
    def splits(self) -> bool:
        """Whether `result` may come before `completed`; a transport with one answer says no."""
        ...

    async def accepted(self) -> None:
        """The receipt: from here on the invocation is ours, whatever becomes of the caller."""
        ...

    async def result(self, activation: Activation) -> None:
        """Tell the result of a blocking invocation whose logs are late; `activation` has no logs."""
        ...

    async def completed(self, activation: Activation, ack: Ack) -> None:
        """Tell that the slot is free, as `ack` says: `COMBINED`, `SHRUNK` or `COMPLETION`."""
        ...


class Intake(Protocol):
    """The core's side of the door, given to every transport."""

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str] = NO_CONTEXT) -> Admitted:
        """Decide about a message before its receipt; never waits.

        `via` is the transport's name; `context` goes into the activation's log line as it is.

        Raises:
            MalformedRequest: it is no activation message, or too large.
            Busy: there is no room for it now.
        """
        ...

    async def invoke(self, admitted: Admitted, answers: Answers) -> None:
        """Run it to its end: receipt, function, record, answer. Raises nothing but cancellation.

        Cancelling it ends the activation as a system error that is recorded and answered all the same.
        """
        ...


class Operations(Protocol):
    """What an operator may ask the invoker; given to transports that have a door for operators."""

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


@runtime_checkable
class OperatorDoor(Protocol):
    """What a transport may yield: where operators can ask it over HTTP, so that `invoker pool` finds it."""

    @property
    def operators(self) -> str | None:
        """URL below which `GET /pool` answers with `Operations.pool` as JSON; `None` where operators have no door."""
        ...


@runtime_checkable
class Admission(Protocol):
    """Turns messages away after their receipt, such as those of a blocked namespace."""

    def refusal(self, request: Request) -> str | None:
        """Return the error text the caller gets, or `None` to let it pass. Never waits."""
        ...
