"""Functions, one row each: the newest revision and nothing older."""

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from invoker.contracts import FunctionCatalog, FunctionStore
from invoker.entities.function import Function, FunctionRef, Limits
from invoker.errors import FunctionNotFound, FunctionUnreadable, StoreError
from invoker.wire.function import document
from invoker_sqlite.database import UNFIT, Database, transaction


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
    """A `FunctionStore` and its catalog.

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
        wanted = ref.revision if exact else None
        found = await self._database.run(lambda connection: _functions(connection, _FETCH, ref.document_id))
        if not found or wanted not in (None, found[0].revision):
            raise FunctionNotFound(ref.document_id, wanted)
        return found[0]

    async def put(self, function: Function) -> str:
        """See `FunctionCatalog.put`."""
        try:
            return await self._database.run(lambda connection: _put(connection, function))
        except UNFIT as error:  # such as code beyond 1 GB
            raise StoreError(f"action {function.document_id!r} can't be stored: {error}") from error

    async def functions(self, namespace: str) -> Sequence[Function]:
        """See `FunctionCatalog.functions`; without code."""
        return await self._database.run(lambda connection: _functions(connection, _LIST, namespace))

    async def delete(self, ref: FunctionRef) -> None:
        """See `FunctionCatalog.delete`."""
        found = (ref.document_id,)
        deleted = await self._database.run(lambda connection: connection.execute(_DELETE, found).rowcount)
        if not deleted:
            raise FunctionNotFound(ref.document_id)


def _put(connection: sqlite3.Connection, function: Function) -> str:
    document_id = function.document_id
    written = document(msgspec.structs.replace(function, revision=None), updated=0)
    content = hashlib.blake2b(written, digest_size=16).hexdigest()
    values = {name: getattr(function, name) for name in _Head.__struct_fields__}
    values["annotations"], values["parameters"] = bytes(function.annotations), bytes(function.parameters)
    head = _encoder.encode(_Head(**values))
    with transaction(connection):
        known = connection.execute(_NUMBER, (document_id,)).fetchone()
        number = known[0] + 1 if known else 1
        revision = f"{number}-{content}"
        namespace = function.path.partition("/")[0]
        connection.execute(_PUT, (document_id, namespace, number, revision, head, function.code))
    return revision


def _functions(connection: sqlite3.Connection, sql: str, which: str) -> list[Function]:
    return [_function(row) for row in connection.execute(sql, (which,))]


def _function(row: tuple[Any, ...]) -> Function:
    document_id, revision, blob, code = row
    try:
        values = msgspec.structs.asdict(_decoder.decode(blob))
    except (msgspec.DecodeError, TypeError) as error:
        raise FunctionUnreadable(document_id, f"its row in the file can't be read: {error}") from error
    values["annotations"], values["parameters"] = msgspec.Raw(values["annotations"]), msgspec.Raw(values["parameters"])
    return Function(revision=revision, code=code, **values)
