"""Stores that keep everything in memory: for tests of what uses a store. They pass the contract suites."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

import msgspec

from invoker.contracts import ActivationReader, ActivationStore, FunctionCatalog, FunctionStore
from invoker.entities.activation import Activation, ActivationRecord
from invoker.entities.function import Function, FunctionRef
from invoker.errors import FunctionNotFound
from invoker.wire.function import document
from invoker.wire.record import read


class MemoryStore(FunctionStore, FunctionCatalog):
    """Starts with `functions`, even with such as no catalog would take."""

    def __init__(self, *functions: Function) -> None:
        self._functions: dict[str, Function] = {}
        """By document id."""
        self._numbers: dict[str, int] = {}
        """How often each was put; deleting it doesn't start over."""
        for function in functions:
            self._put(function)

    @property
    def catalog(self) -> FunctionCatalog:
        """See `FunctionStore.catalog`."""
        return self

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        """See `FunctionStore.fetch`; only the newest revision is kept."""
        function = self._functions.get(ref.document_id)
        wanted = ref.revision if exact else None
        if function is None or wanted not in (None, function.revision):
            raise FunctionNotFound(ref.document_id, wanted)
        return function

    async def put(self, function: Function) -> str:
        """See `FunctionCatalog.put`."""
        document(function, updated=0)  # only for what it raises
        return self._put(function)

    async def functions(self, namespace: str) -> Sequence[Function]:
        """See `FunctionCatalog.functions`."""
        found = [each for each in self._functions.values() if each.path.partition("/")[0] == namespace]
        return sorted(found, key=lambda function: function.document_id)

    async def delete(self, ref: FunctionRef) -> None:
        """See `FunctionCatalog.delete`."""
        if self._functions.pop(ref.document_id, None) is None:
            raise FunctionNotFound(ref.document_id)

    def _put(self, function: Function) -> str:
        document_id = function.document_id
        number = self._numbers[document_id] = self._numbers.get(document_id, 0) + 1
        content = hashlib.blake2b((function.code or "").encode(errors="surrogatepass"), digest_size=16)
        revision = f"{number}-{content.hexdigest()}"
        self._functions[document_id] = msgspec.structs.replace(function, revision=revision)
        return revision


class MemoryActivations(ActivationStore, ActivationReader):
    """Keeps records in a dictionary."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], Activation] = {}
        """By namespace and activation id, in the order in which they were stored."""
        self._arrived = asyncio.Condition()

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        """See `ActivationStore.put_many`."""
        for record in batch:
            self.records.setdefault((record.namespace, record.activation_id), read(record.document))
        async with self._arrived:
            self._arrived.notify_all()

    @property
    def reader(self) -> ActivationReader:
        """See `ActivationStore.reader`."""
        return self

    async def get(self, namespace: str, activation_id: str) -> Activation | None:
        """See `ActivationReader.get`."""
        return self.records.get((namespace, activation_id))

    async def recent(self, namespace: str, *, limit: int, action: str | None = None) -> Sequence[Activation]:
        """See `ActivationReader.recent`."""
        found = [each for each in self.records.values() if each.namespace == namespace and action in (None, each.path)]
        newest = sorted(found, key=lambda activation: activation.start, reverse=True)[:limit]
        return [msgspec.structs.replace(activation, logs=()) for activation in newest]

    async def follow(self, namespace: str) -> AsyncIterator[Activation]:
        """See `ActivationReader.follow`."""
        seen = len(self.records)
        while True:
            async with self._arrived:
                while len(self.records) == seen:
                    await self._arrived.wait()
            for activation in list(self.records.values())[seen:]:
                seen += 1
                if activation.namespace == namespace:
                    yield activation
