"""Actions and activation records as files: one JSON document each, as OpenWhisk's own databases have them."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import invoker.wire.function
import invoker.wire.record
import msgspec
from invoker import Section, Settings, SettingsSection, hookimpl
from invoker.config import Compat, RolesSettings
from invoker.contracts import ActivationReader, ActivationStore, FunctionCatalog, FunctionStore
from invoker.entities.activation import Activation, ActivationRecord
from invoker.entities.function import Function, FunctionRef
from invoker.errors import FunctionNotFound, StoreUnavailable

T = TypeVar("T")


class FilesSettings(Section, frozen=True, kw_only=True):
    """The `[files]` section."""

    directory: Path = Path("invoker-files")
    """Where the files go."""


@hookimpl
def settings_section() -> SettingsSection:
    return SettingsSection(name="files", into=FilesSettings)


@hookimpl
@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator["Files"]:
    with ThreadPoolExecutor(4, "files") as threads:
        files = Files(settings[FilesSettings].directory, threads)
        await files.run(lambda directory: directory.mkdir(parents=True, exist_ok=True, mode=0o700))
        yield files


@hookimpl
@asynccontextmanager
async def open_function_store(client: "Files") -> AsyncIterator[FunctionStore]:
    yield FileFunctions(client)


@hookimpl
@asynccontextmanager
async def open_activation_store(settings: Settings, client: "Files") -> AsyncIterator[ActivationStore]:
    yield FileActivations(client, settings[RolesSettings].compat)


class Files:
    """What both stores share: a directory, and threads of their own, so that nobody else waits for its disk."""

    def __init__(self, directory: Path, threads: ThreadPoolExecutor) -> None:
        self._directory = directory
        self._threads = threads

    async def run(self, work: Callable[[Path], T]) -> T:
        """Do something with the directory. If the wait for it is cancelled, what has begun is done all the same."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, self._directory)
        except (OSError, ValueError) as error:  # no such directory, or a file that is none of ours
            raise StoreUnavailable(f"{error}; the directory is named in files.directory") from error

    async def write(self, name: str, content: bytes) -> None:
        """Write a file: whoever reads it finds the old one or the new one, and nothing in between."""

        def whole(directory: Path) -> None:
            part = directory / f"{uuid.uuid4().hex}.part"
            try:
                part.write_bytes(content)
                part.replace(directory / name)
            finally:
                part.unlink(missing_ok=True)

        await self.run(whole)

    async def read(self, pattern: str, of: Callable[[bytes], T], skip: Collection[str] = ()) -> dict[str, T]:
        """Return what is in the files with such names, in the order of their names."""
        paths = await self.run(lambda directory: sorted(directory.glob(pattern)))
        return await self.run(lambda _: {path.name: of(path.read_bytes()) for path in paths if path.name not in skip})


class FileFunctions(FunctionStore, FunctionCatalog):
    """The newest revision of each action. The command line can write it."""

    def __init__(self, files: Files) -> None:
        self._files = files

    @property
    def catalog(self) -> FunctionCatalog:
        return self

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        found = await self._files.read(f"action-{safe(ref.document_id)}.json", invoker.wire.function.read)
        wanted = ref.revision if exact else None
        for stored in found.values():
            if wanted in (None, stored.function.revision):
                return stored.function
        raise FunctionNotFound(ref.document_id, wanted)

    async def put(self, function: Function) -> str:
        revision = uuid.uuid4().hex  # unlike a number, it needs no memory of what was deleted
        stored = msgspec.structs.replace(function, revision=revision)
        document = invoker.wire.function.document(stored, updated=int(time.time() * 1000))  # or FunctionUnreadable
        await self._files.write(f"action-{safe(function.document_id)}.json", document)
        return revision

    async def functions(self, namespace: str) -> Sequence[Function]:
        found = (await self._files.read("action-*.json", invoker.wire.function.read)).values()
        mine = [each.function for each in found if each.function.path.partition("/")[0] == namespace]
        return sorted(mine, key=lambda function: function.document_id)

    async def delete(self, ref: FunctionRef) -> None:
        await self.fetch(ref, exact=False)  # or FunctionNotFound
        await self._files.run(lambda directory: (directory / f"action-{safe(ref.document_id)}.json").unlink())


class FileActivations(ActivationStore, ActivationReader):
    """Records, which the command line can read. One that is stored again replaces itself."""

    def __init__(self, files: Files, compat: Compat) -> None:
        self._files = files
        self._compat = compat

    @property
    def reader(self) -> ActivationReader:
        return self

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        for one in batch:  # with the time in its name, so that names in order are records in order
            name = f"record-{safe(one.namespace)}-{one.start:016}-{safe(one.activation_id)}.json"
            await self._files.write(name, one.document)

    async def get(self, namespace: str, activation_id: str) -> Activation | None:
        pattern = f"record-{safe(namespace)}-*-{safe(activation_id)}.json"
        return next(iter((await self._files.read(pattern, invoker.wire.record.read)).values()), None)

    async def recent(self, namespace: str, *, limit: int, action: str | None = None) -> Sequence[Activation]:
        records = await self._files.read(f"record-{safe(namespace)}-*.json", invoker.wire.record.read)
        found = [each for each in reversed(records.values()) if action in (None, each.path)]
        return [msgspec.structs.replace(each, logs=()) for each in found[:limit]]

    async def follow(self, namespace: str) -> AsyncIterator[Activation]:
        pattern = f"record-{safe(namespace)}-*.json"
        seen = set(await self._files.read(pattern, len))
        while True:
            for name, activation in (await self._files.read(pattern, invoker.wire.record.read, seen)).items():
                seen.add(name)
                yield activation
            await asyncio.sleep(0.25)


def safe(text: str) -> str:
    """Return `text` for the name of a file: no way out, not too long, no pattern, and different in more than case."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{quote(text, safe='', errors='replace')[:60]}~{digest[:32]}"
