"""The SQLite stores pass the contracts, opened as the invoker opens them."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from invoker import Settings
from invoker.contracts import FunctionStore
from invoker.entities.activation import Activation
from invoker.plugins import check_contract
from invoker.testing.activation_reader import ActivationReaderContract, Records
from invoker.testing.activation_store import ActivationStoreContract, ReadBack, document_of
from invoker.testing.function_catalog import Catalog, FunctionCatalogContract
from invoker.testing.function_store import FunctionStoreContract, Put
from invoker_sqlite import open_activation_store, open_function_store
from invoker_sqlite.settings import SqliteSettings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(SqliteSettings(path=tmp_path / "invoker.sqlite3"))


@pytest.fixture
async def catalog(settings: Settings) -> AsyncIterator[Catalog]:
    async with open_function_store(settings) as store:
        yield cast("Catalog", store)


class TestFunctionStore(FunctionStoreContract):
    @pytest.fixture
    async def store(self, settings: Settings) -> AsyncIterator[FunctionStore]:
        async with open_function_store(settings) as store:
            yield store

    @pytest.fixture
    def put(self, catalog: Catalog) -> Put:
        """A second opening of the same file writes what the first one reads."""
        return catalog.put


class TestFunctionCatalog(FunctionCatalogContract):
    pass


class TestActivations(ActivationStoreContract, ActivationReaderContract):
    @pytest.fixture
    async def store(self, settings: Settings) -> AsyncIterator[Records]:
        async with open_activation_store(settings) as store:
            yield cast("Records", store)

    @pytest.fixture
    def records(self, store: Records) -> Records:
        return store

    @pytest.fixture
    async def read_back(self, settings: Settings) -> AsyncIterator[ReadBack]:
        async with open_activation_store(settings) as second:
            reader = cast("Records", second)

            async def look(activation: Activation) -> Mapping[str, Any] | None:
                found = await reader.get(activation.namespace, activation.activation_id)
                return None if found is None else document_of(found)

            yield look


async def test_what_the_hooks_open_is_all_that_it_claims_to_be(settings: Settings) -> None:
    async with open_function_store(settings) as functions, open_activation_store(settings) as activations:
        check_contract("sqlite", "open_function_store", Catalog, functions)
        check_contract("sqlite", "open_activation_store", Records, activations)
