"""The stores in memory pass the contracts; what passes can't lie to the tests that use it."""

from collections.abc import Mapping
from typing import Any

import pytest

from invoker.entities.activation import Activation
from invoker.testing.activation_reader import ActivationReaderContract
from invoker.testing.activation_store import ActivationStoreContract, ReadBack, document_of
from invoker.testing.builders import a_function, a_ref
from invoker.testing.function_catalog import FunctionCatalogContract
from invoker.testing.function_store import FunctionStoreContract, Put
from invoker.testing.stores import MemoryActivations, MemoryStore


class TestMemoryStore(FunctionStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def put(self, store: MemoryStore) -> Put:
        return store.put


class TestMemoryCatalog(FunctionCatalogContract):
    @pytest.fixture
    def catalog(self) -> MemoryStore:
        return MemoryStore()


class TestMemoryActivations(ActivationStoreContract, ActivationReaderContract):
    @pytest.fixture
    def store(self) -> MemoryActivations:
        return MemoryActivations()

    @pytest.fixture
    def records(self, store: MemoryActivations) -> MemoryActivations:
        return store

    @pytest.fixture
    def read_back(self, store: MemoryActivations) -> ReadBack:
        async def look(activation: Activation) -> Mapping[str, Any] | None:
            found = store.records.get((activation.namespace, activation.activation_id))
            return None if found is None else document_of(found)

        return look


async def test_a_store_can_start_with_functions() -> None:
    function = a_function()

    store = MemoryStore(function)

    fetched = await store.fetch(a_ref(function), exact=False)
    assert fetched.code == function.code
    assert fetched.revision is not None
