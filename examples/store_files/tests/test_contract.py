"""The stores do what the invoker expects of every store, and what their README says."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from invoker import Settings
from invoker.contracts import ActivationStore, FunctionStore
from invoker.entities.activation import Activation
from invoker.errors import FunctionUnreadable, StoreUnavailable
from invoker.plugins import installed
from invoker.testing.activation_reader import ActivationReaderContract
from invoker.testing.activation_store import ActivationStoreContract, ReadBack
from invoker.testing.builders import a_function, a_ref, an_activation, as_records
from invoker.testing.function_catalog import FunctionCatalogContract
from invoker.testing.function_store import FunctionStoreContract

from invoker_files import Files, FilesSettings, open_activation_store, open_client, open_function_store, safe


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Files]:
    async with open_client(Settings.of(FilesSettings(directory=tmp_path / "files"))) as files:
        yield files


@pytest.fixture
async def functions(client: Files) -> AsyncIterator[FunctionStore]:
    async with open_function_store(client) as store:
        yield store


@pytest.fixture
async def activations(client: Files) -> AsyncIterator[ActivationStore]:
    async with open_activation_store(Settings.of(), client) as store:
        yield store


class TestFileFunctions(FunctionCatalogContract, FunctionStoreContract):
    @pytest.fixture
    def store(self, functions: FunctionStore) -> FunctionStore:
        return functions


class TestFileActivations(ActivationReaderContract, ActivationStoreContract):
    @pytest.fixture
    def store(self, activations: ActivationStore) -> ActivationStore:
        return activations

    @pytest.fixture
    def read_back(self, tmp_path: Path) -> ReadBack:
        async def look(activation: Activation) -> Mapping[str, Any] | None:
            pattern = f"record-{safe(activation.namespace)}-*-{safe(activation.activation_id)}.json"
            found = [json.loads(path.read_bytes()) for path in (tmp_path / "files").glob(pattern)]
            return found[0] if found else None

        return look


def test_the_plugin_is_found_by_its_name() -> None:
    assert installed()["files"].value == "invoker_files"


async def test_no_name_leaves_the_directory(activations: ActivationStore, tmp_path: Path) -> None:
    namespaces = ("..", "../..", "/", ".", "")
    await activations.put_many(as_records(an_activation(namespace=namespace) for namespace in namespaces))

    assert len(files_in(tmp_path / "files")) == len(files_in(tmp_path)) == 5


async def test_a_directory_that_is_gone_is_unavailable(
    functions: FunctionStore, activations: ActivationStore, tmp_path: Path
) -> None:
    assert functions.catalog is not None
    (tmp_path / "files").rmdir()

    with pytest.raises(StoreUnavailable, match=r"files\.directory"):
        await activations.put_many(as_records([an_activation()]))
    with pytest.raises(StoreUnavailable, match=r"files\.directory"):
        await functions.catalog.put(a_function())


async def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("mine")

    with pytest.raises(StoreUnavailable, match=r"files\.directory"):
        async with open_client(Settings.of(FilesSettings(directory=tmp_path / "files"))):
            pytest.fail("it was opened")


async def test_a_file_that_is_no_action_is_unreadable(functions: FunctionStore, tmp_path: Path) -> None:
    function = a_function()
    assert functions.catalog is not None
    await functions.catalog.put(function)
    for path in (tmp_path / "files").iterdir():
        path.write_text("[]")

    with pytest.raises(FunctionUnreadable):
        await functions.fetch(a_ref(function), exact=False)


async def test_a_file_that_is_no_record_is_unavailable(activations: ActivationStore, tmp_path: Path) -> None:
    assert activations.reader is not None
    await activations.put_many(as_records([an_activation()]))
    for path in (tmp_path / "files").iterdir():
        path.write_text("[]")

    with pytest.raises(StoreUnavailable):
        await activations.reader.recent("guest", limit=1)


async def test_what_is_fetched_has_its_digest_and_is_else_as_it_was_put(functions: FunctionStore) -> None:
    function = a_function()
    assert functions.catalog is not None
    await functions.catalog.put(function)

    fetched = await functions.fetch(a_ref(function), exact=False)

    assert fetched.digest
    assert msgspec.structs.replace(fetched, digest=b"", revision=None) == function
