"""The stores in memory pass the contracts; what passes can't lie to the tests that use it."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from invoker.entities.activation import Activation
from invoker.entities.function import Function
from invoker.testing.activation_reader import ActivationReaderContract
from invoker.testing.activation_store import ActivationStoreContract, ReadBack, document_of
from invoker.testing.builders import a_function, a_ref
from invoker.testing.function_catalog import FunctionCatalogContract
from invoker.testing.function_store import FunctionStoreContract
from invoker.testing.stores import MemoryActivations, MemoryStore
from invoker.wire.function import document, read


class TestMemoryStore(FunctionCatalogContract, FunctionStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class KeepsDocuments(MemoryStore):
    """Keeps OpenWhisk's own documents, as a database would, and nothing else."""

    async def put(self, function: Function) -> str:
        revision = await super().put(function)
        written = document(msgspec.structs.replace(function, revision=revision), updated=0)
        self._functions[function.document_id] = read(written).function
        return revision


class TestKeepsDocuments(FunctionCatalogContract, FunctionStoreContract):
    @pytest.fixture
    def store(self) -> KeepsDocuments:
        return KeepsDocuments()


class TestMemoryActivations(ActivationReaderContract, ActivationStoreContract):
    @pytest.fixture
    def store(self) -> MemoryActivations:
        return MemoryActivations()

    @pytest.fixture
    def read_back(self, store: MemoryActivations) -> ReadBack:
        async def look(activation: Activation) -> Mapping[str, Any] | None:
            found = store.records.get((activation.namespace, activation.activation_id))
            return None if found is None else document_of(found)

        return look


def sentences(suite: type) -> set[str]:
    return {name for name in vars(suite) if name.startswith("test")}


@pytest.mark.parametrize(
    ("one", "other"),
    [(FunctionCatalogContract, FunctionStoreContract), (ActivationReaderContract, ActivationStoreContract)],
)
def test_suites_that_are_run_together_hide_no_test_of_each_other(one: type, other: type) -> None:
    assert sentences(one)
    assert not sentences(one) & sentences(other)


async def test_a_store_can_start_with_functions() -> None:
    function = a_function()

    store = MemoryStore(function)

    fetched = await store.fetch(a_ref(function), exact=False)
    assert fetched.code == function.code
    assert fetched.revision is not None
