"""Activation records as files: one JSON document each, as OpenWhisk would store it in a database."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from invoker import Section, Settings, SettingsSection, hookimpl
from invoker.config import Compat, RolesSettings
from invoker.contracts import ActivationStore
from invoker.entities.activation import Activation
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.wire import record


class FilesSettings(Section, frozen=True, kw_only=True):
    """The `[files]` section."""

    directory: Path = Path("activations")
    """Where the files go."""


@hookimpl
def settings_section() -> SettingsSection:
    return SettingsSection(name="files", into=FilesSettings)


@hookimpl
@asynccontextmanager
async def open_activation_store(settings: Settings) -> AsyncIterator[ActivationStore]:
    directory = settings[FilesSettings].directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{error}: name another directory in files.directory") from error
    yield FileActivations(directory, settings[RolesSettings].compat)


class FileActivations:
    """An `ActivationStore`. A record that is stored again replaces itself."""

    def __init__(self, directory: Path, compat: Compat) -> None:
        self._directory = directory
        self._compat = compat
        self._part = directory / f".{os.getpid()}.part"  # there are never two batches at a time

    async def put_many(self, batch: Sequence[Activation]) -> None:
        await asyncio.to_thread(self._write, batch)  # the event loop doesn't wait for a disk

    def _write(self, batch: Sequence[Activation]) -> None:
        refused: dict[str, str] = {}
        for activation in batch:
            try:
                self._part.write_bytes(
                    record.document(activation, compat=self._compat, updated=int(time.time() * 1000))
                )
                self._part.replace(self._directory / file_name(activation))  # whole or not at all
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise StoreUnavailable(str(error)) from error  # the batch will come again
                refused[activation.activation_id] = str(error)  # this one will never fit
        if refused:
            raise RecordsRefused(refused)


def file_name(activation: Activation) -> str:
    """Return a name that can't leave the directory, whatever the namespace is called."""
    return quote(f"{activation.namespace}/{activation.activation_id}.json", safe="")
