"""Stores: where functions come from and where records go."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from invoker.contracts.parts import Part
from invoker.entities.activation import Activation, ActivationRecord
from invoker.entities.function import Function, FunctionRef


class FunctionCatalog(ABC):
    """What the command line needs to list and change functions."""

    @abstractmethod
    async def put(self, function: Function) -> str:
        """Create or replace, whatever its own revision; return the new one, which no earlier one equals.

        Raises:
            FunctionUnreadable: `wire.function.document` can't write it; nothing is changed.
            StoreError: it can't be kept for another reason, such as its size; nothing is changed.
            StoreUnavailable: the store doesn't answer.
        """

    @abstractmethod
    async def functions(self, namespace: str) -> Sequence[Function]:
        """Return the functions of a namespace and of its packages, by document id; their code may be left out.

        Raises:
            StoreUnavailable: the store doesn't answer.
        """

    @abstractmethod
    async def delete(self, ref: FunctionRef) -> None:
        """Remove one, whatever its revision.

        Raises:
            FunctionNotFound: there is none.
            StoreUnavailable: the store doesn't answer.
        """


class FunctionStore(Part, ABC):
    """Where functions come from. Cached by the core."""

    @property
    def catalog(self) -> FunctionCatalog | None:
        """The way to list and change functions, in a store that has one: it may be the store itself."""
        return None

    @abstractmethod
    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        """Return a function with its code. `digest` may be left empty: the core then computes it.

        The newest revision will do (spec 6.7.2) unless `exact`: then only `ref.revision`, where it is given. Cancelled
        after `cache.fetch_timeout` seconds, which counts as a store that doesn't answer.

        Raises:
            FunctionNotFound: there is none, or not at that revision. There never is one whose name is not well formed.
            FunctionUnreadable: there is something, but no function.
            StoreUnavailable: the store doesn't answer.
        """


class ActivationReader(ABC):
    """What the command line needs to read records. All raise `StoreUnavailable` when the store doesn't answer."""

    @abstractmethod
    async def get(self, namespace: str, activation_id: str) -> Activation | None:
        """Return one record, or `None`."""

    @abstractmethod
    async def recent(self, namespace: str, *, limit: int, action: str | None = None) -> Sequence[Activation]:
        """Return the newest records of a namespace, newest first, without logs; of one `path/name` if asked."""

    @abstractmethod
    def follow(self, namespace: str) -> AsyncIterator[Activation]:
        """Yield records with their logs as they are stored from now on, oldest first, without end."""


class ActivationStore(Part, ABC):
    """Where activation records are kept. Batched by the core, never two batches at a time."""

    @property
    def reader(self) -> ActivationReader | None:
        """The way to read records, in a store that has one: it may be the store itself."""
        return None

    @abstractmethod
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        """Keep records. One that is already there is no error: the first answer may have been lost.

        An empty batch, as `invoker check` puts it, asks whether records would be kept, and changes nothing.

        Cancelled after `recording.write_timeout` seconds; the same batch will then be tried again.

        Raises:
            StoreUnavailable: none or some are kept; the same batch will be tried again.
            RecordsRefused: these will never be taken; all others are kept.
        """
