"""The store does what the invoker expects of every store, and what its README says."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from invoker import Settings
from invoker.contracts import ActivationStore
from invoker.entities.activation import Activation
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.plugins import installed
from invoker.testing.activation_store import ActivationStoreContract, ReadBack
from invoker.testing.builders import an_activation

from invoker_files import FilesSettings, file_name, open_activation_store


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def settings_for(directory: Path) -> Settings:
    return Settings.of(FilesSettings(directory=directory))


class TestFiles(ActivationStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ActivationStore]:
        async with open_activation_store(settings_for(tmp_path)) as store:
            yield store

    @pytest.fixture
    def read_back(self, tmp_path: Path) -> ReadBack:
        async def look(activation: Activation) -> Mapping[str, Any] | None:
            path = tmp_path / file_name(activation)
            return json.loads(path.read_bytes()) if path.exists() else None

        return look


def test_the_plugin_is_found_by_its_name() -> None:
    assert installed()["files"].value == "invoker_files"


async def test_no_name_leaves_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "inside"
    async with open_activation_store(settings_for(directory)) as store:
        await store.put_many([an_activation(namespace=namespace) for namespace in ("..", "../..", "/", ".", "")])

    assert len(files_in(directory)) == len(files_in(tmp_path)) == 5


async def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    good, bad = an_activation(), an_activation(namespace="n" * 256)
    async with open_activation_store(settings_for(tmp_path)) as store:
        with pytest.raises(RecordsRefused) as caught:
            await store.put_many([bad, good])

    assert set(caught.value.refused) == {bad.activation_id}
    assert (tmp_path / file_name(good)).exists()


async def test_a_directory_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    async with open_activation_store(settings_for(tmp_path / "records")) as store:
        (tmp_path / "records").rmdir()

        with pytest.raises(StoreUnavailable):
            await store.put_many([an_activation()])
