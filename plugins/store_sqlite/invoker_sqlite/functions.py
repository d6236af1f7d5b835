"""Functions, one row each: the newest revision and nothing older."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from invoker.contracts import FunctionCatalog, FunctionStore
from invoker.entities.function import Function, FunctionRef, Limits
from invoker.errors import FunctionNotFound, FunctionUnreadable, StoreError
from invoker.wire.function import document
from invoker_sqlite.database import UNFIT, Database


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """A function without its code and revision, as the file has it. New fields go to the end, with a default."""

    path: str
    name: str
    version: str
    kind: str
    image: str | None
    binary: bool
    main: str | None
    limits: Limits
    provide_api_key: bool
    annotations: bytes
    parameters: bytes


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Head)

_NUMBER: Final = "SELECT number FROM functions WHERE document_id = ?"
_PUT: Final = """
    INSERT INTO functions (document_id, namespace, number, revision, head, code) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (document_id) DO UPDATE
    SET number = excluded.number, revision = excluded.revision, head = excluded.head, code = excluded.code
"""
_DELETE: Final = """
    UPDATE functions SET number = number + 1, revision = NULL, head = NULL, code = NULL
    WHERE document_id = ? AND revision IS NOT NULL
"""
_FETCH: Final = """
    SELECT document_id, revision, head, code FROM functions WHERE document_id = ? AND revision IS NOT NULL
"""
_LIST: Final = """
    SELECT document_id, revision, head, NULL FROM functions WHERE namespace = ? AND revision IS NOT NULL
    ORDER BY document_id
"""


class SqliteFunctions(FunctionStore, FunctionCatalog):
    """A `FunctionStore` and `FunctionCatalog`.

    A revision is `<number>-<hash of the content>`. The number rises with every `put` and `delete` of a document, as
    in CouchDB, and outlives its deletion.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def catalog(self) -> FunctionCatalog:
        """See `FunctionStore.catalog`."""
        return self

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        """See `FunctionStore.fetch`. Older revisions are gone: `exact` then finds nothing."""
        rows = await self._database.run(_FETCH, (ref.document_id,))
        wanted = ref.revision if exact else None
        if not rows or wanted not in (None, rows[0][1]):
            raise FunctionNotFound(ref.document_id, wanted)
        return _function(rows[0])

    async def put(self, function: Function) -> str:
        """See `FunctionCatalog.put`.

        Raises:
            FunctionUnreadable: no action document could say it.
            StoreError: it is larger than what SQLite takes.
            StoreUnavailable: the file can't be used now.
        """
        document_id = function.document_id
        written = document(msgspec.structs.replace(function, revision=None), updated=0)
        content = hashlib.blake2b(written, digest_size=16)
        try:
            head = _head(function)
            async with self._database.transaction() as transaction:
                rows = await transaction.run(_NUMBER, (document_id,))
                number = rows[0][0] + 1 if rows else 1
                revision = f"{number}-{content.hexdigest()}"
                values = (document_id, _namespace(function.path), number, revision, head, function.code)
                await transaction.run(_PUT, values)
        except UNFIT as error:
            raise StoreError(f"action {document_id!r} can't be stored: {error}") from error
        return revision

    async def functions(self, namespace: str) -> Sequence[Function]:
        """See `FunctionCatalog.functions`; without code."""
        return [_function(row) for row in await self._database.run(_LIST, (namespace,))]

    async def delete(self, ref: FunctionRef) -> None:
        """See `FunctionCatalog.delete`; whatever its revision."""
        async with self._database.transaction() as transaction:
            await transaction.run(_DELETE, (ref.document_id,))
            ((deleted,),) = await transaction.run("SELECT changes()")
        if not deleted:
            raise FunctionNotFound(ref.document_id)


def _namespace(path: str) -> str:
    """Return the first part of `namespace[/package]`."""
    return path.partition("/")[0]


def _head(function: Function) -> bytes:
    return _encoder.encode(
        _Head(
            function.path,
            function.name,
            function.version,
            function.kind,
            function.image,
            function.binary,
            function.main,
            function.limits,
            function.provide_api_key,
            bytes(function.annotations),
            bytes(function.parameters),
        )
    )


def _function(row: Any) -> Function:
    document_id, revision, blob, code = row
    try:
        head = _decoder.decode(blob)
    except (msgspec.DecodeError, TypeError) as error:
        raise FunctionUnreadable(document_id, f"its row in the file can't be read: {error}") from error
    return Function(
        path=head.path,
        name=head.name,
        version=head.version,
        revision=revision,
        kind=head.kind,
        image=head.image,
        code=code,
        binary=head.binary,
        main=head.main,
        limits=head.limits,
        provide_api_key=head.provide_api_key,
        annotations=msgspec.Raw(head.annotations),
        parameters=msgspec.Raw(head.parameters),
    )
