"""Stores: where functions come from and where records go."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from invoker.entities.activation import Activation
from invoker.entities.function import Function, FunctionRef


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
