"""The SQLite stores pass the contracts, opened as the invoker opens them."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from invoker import Settings
from invoker.contracts import ActivationStore, FunctionStore
from invoker.entities.activation import Activation
from invoker.testing.activation_reader import ActivationReaderContract
from invoker.testing.activation_store import ActivationStoreContract, ReadBack, document_of
from invoker.testing.function_catalog import FunctionCatalogContract
from invoker.testing.function_store import FunctionStoreContract, Put
from invoker_sqlite import open_activation_store, open_function_store
from invoker_sqlite.settings import SqliteSettings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(SqliteSettings(path=tmp_path / "invoker.sqlite3"))


class TestFunctions(FunctionCatalogContract, FunctionStoreContract):
    @pytest.fixture
    async def store(self, settings: Settings) -> AsyncIterator[FunctionStore]:
        async with open_function_store(settings) as store:
            yield store

    @pytest.fixture
    async def put(self, settings: Settings) -> AsyncIterator[Put]:
        """A second opening of the same file writes what the first one reads."""
        async with open_function_store(settings) as second:
            assert second.catalog is not None
            yield second.catalog.put


class TestActivations(ActivationReaderContract, ActivationStoreContract):
    @pytest.fixture
    async def store(self, settings: Settings) -> AsyncIterator[ActivationStore]:
        async with open_activation_store(settings) as store:
            yield store

    @pytest.fixture
    async def read_back(self, settings: Settings) -> AsyncIterator[ReadBack]:
        async with open_activation_store(settings) as second:
            reader = second.reader
            assert reader is not None

            async def look(activation: Activation) -> Mapping[str, Any] | None:
                found = await reader.get(activation.namespace, activation.activation_id)
                return None if found is None else document_of(found)

            yield look
