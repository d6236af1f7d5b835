"""What plugins and the core promise each other: small protocols, checked once when something is opened.

They grow by new contracts, not by new methods. Sizes are bytes, times are seconds unless a name says otherwise.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from invoker.entities.activation import Ack, Activation
from invoker.entities.container import ContainerSpec, ContainerState, Reply, Stream
from invoker.entities.function import Function, FunctionRef
from invoker.entities.request import Request
from invoker.entities.runtimes import Runtimes

T_co = TypeVar("T_co", covariant=True)
Opening: TypeAlias = AbstractAsyncContextManager[T_co]
"""What an `open_*` hook returns: entering makes the object ready, leaving gives everything back."""


NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})


# --- the door: a transport brings messages in and takes answers out --------------------------------------------


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


@runtime_checkable
class Admission(Protocol):
    """Turns messages away after their receipt, such as those of a blocked namespace."""

    def refusal(self, request: Request) -> str | None:
        """Return the error text the caller gets, or `None` to let it pass. Never waits."""
        ...


# --- containers ------------------------------------------------------------------------------------------------


class Output(Protocol):
    """Where a container's output goes. The runtime calls it on the event loop, from before the start to the end."""

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take what came out; never blocks, never refuses."""
        ...

    def closed(self) -> None:
        """Both streams are at their end: the container is gone. Called once."""
        ...


@runtime_checkable
class Container(Protocol):
    """One running container. It knows nothing about functions."""

    @property
    def name(self) -> str:
        """The name it was created under."""
        ...

    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        """Send a JSON body to the action proxy and read its reply, keeping at most `limit` bytes of it.

        The first call waits until the proxy listens; this counts against `timeout`. Nothing is ever sent twice.

        Raises:
            Unreachable: no byte was sent.
            Lost: no whole reply came, and none will.
            PostTimedOut: `timeout` seconds are over. The request may still be running: remove the container.
        """
        ...

    async def inspect(self) -> ContainerState:
        """Ask how it is. Never raises: what can't be found out is reported as not running."""
        ...

    async def remove(self) -> None:
        """Stop every process of it and give everything back; returns when that is done. May be called again."""
        ...


@runtime_checkable
class ContainerRuntime(Protocol):
    """Starts containers."""

    def runtimes(self) -> Runtimes:
        """Return the kinds it can run of its own accord; an operator's manifest replaces them. May be empty."""
        ...

    async def create(self, spec: ContainerSpec, output: Output) -> Container:
        """Start a container whose output goes to `output` from the first byte on.

        Cancelled or failed, it leaves nothing behind.

        Raises:
            StartFailed: no container came of it.
        """
        ...


# --- logs ------------------------------------------------------------------------------------------------------


class Logs(msgspec.Struct, frozen=True):
    """The logs of one activation."""

    lines: tuple[str, ...]
    """Formatted as spec 8.7.1: time, stream, text."""
    complete: bool = True
    """Both sentinels came, whether expected or not; False means that output may still be on its way.

    Where they were expected, such a container can't be used again; one that prints none is never complete, and kept.
    """
    reusable: bool = True
    """False if the output broke the rules, such as a forged sentinel (spec T59)."""


@runtime_checkable
class LogFollower(Protocol):
    """Cuts the output of one container into the logs of its activations. It is also that container's `Output`."""

    def write(self, stream: Stream, chunk: bytes) -> None:
        """See `Output.write`."""
        ...

    def closed(self) -> None:
        """See `Output.closed`."""
        ...

    def begin(self, limit: int) -> None:
        """From here on output belongs to an activation that may log `limit` bytes.

        The first activation also owns what came before it (spec T60); later, output in between is dropped.
        """
        ...

    async def settled(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until the activation's output is complete, for at most `timeout` seconds; return whether it is."""
        ...

    def end(self, *, expected: bool, failed: bool) -> Logs:
        """Close the activation and return its logs as they are; what is unfinished on either stream is included.

        `expected` tells whether this container prints sentinels: then logs without them end with a line that says
        so. `failed` tells that the activation was a developer error: sentinels were not awaited, so nothing is said
        of them; the last line warns instead, where the controllers know such a warning (spec 9.11.3, 9.11.8).
        """
        ...


@runtime_checkable
class LogExtractor(Protocol):
    """Knows how the output of containers becomes the logs of activations."""

    def follow(self, spec: ContainerSpec) -> LogFollower:
        """Return the follower of a container that is about to be created."""
        ...


# --- stores ----------------------------------------------------------------------------------------------------


@runtime_checkable
class FunctionStore(Protocol):
    """Where functions come from. Cached by the core."""

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        """Return a function with its code.

        The newest revision will do (spec 6.7.2) unless `exact`: then only `ref.revision`, where it is given.

        Raises:
            FunctionNotFound: there is none, or not at that revision.
            FunctionUnreadable: there is something, but no function.
            StoreUnavailable: the store doesn't answer.
        """
        ...


@runtime_checkable
class FunctionCatalog(Protocol):
    """A function store that can be written: optional, for the command line."""

    async def put(self, function: Function) -> str:
        """Create or replace; return the new revision, which no earlier one equals."""
        ...

    async def functions(self, namespace: str) -> Sequence[Function]:
        """Return the functions of a namespace and of its packages, by document id; their code may be left out."""
        ...

    async def delete(self, ref: FunctionRef) -> None:
        """Remove one.

        Raises:
            FunctionNotFound: there is none.
        """
        ...


@runtime_checkable
class ActivationStore(Protocol):
    """Where activation records are kept. Batched by the core, never two batches at a time."""

    async def put_many(self, batch: Sequence[Activation]) -> None:
        """Keep records. One that is already there is no error: the first answer may have been lost.

        Raises:
            StoreUnavailable: none or some are kept; the same batch will be tried again.
            RecordsRefused: these will never be taken; all others are kept.
        """
        ...


@runtime_checkable
class ActivationReader(Protocol):
    """An activation store that can be read: optional, for the command line."""

    async def get(self, namespace: str, activation_id: str) -> Activation | None:
        """Return one record, or `None`."""
        ...

    async def recent(self, namespace: str, *, limit: int, action: str | None = None) -> Sequence[Activation]:
        """Return the newest records of a namespace, newest first, without logs; of one `path/name` if asked."""
        ...

    def follow(self, namespace: str) -> AsyncIterator[Activation]:
        """Yield records with their logs as they are stored from now on, oldest first, without end."""
        ...
