"""Action documents: what a store has, read into a `Function` and written from one (spec 6.2 to 6.6)."""

import hashlib
import json
import re
from collections.abc import Collection
from typing import Annotated, Final, TypeAlias

import msgspec

from invoker.entities.function import Function, Limits
from invoker.errors import FunctionUnreadable
from invoker.wire import names, parameters, raw
from invoker.wire.action_proxy import PIECE
from invoker.wire.attachment import Attachment, binary_code, code_text

_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class _Head(msgspec.Struct, rename={"id": "_id", "entity_type": "entityType"}):
    id: str | None = None
    entity_type: str | None = None


class _Exec(msgspec.Struct):
    kind: str
    code: str | Attachment | None = None
    jar: str | Attachment | None = None
    """What old documents of Java actions have in place of `code` (spec 6.3.3)."""
    image: msgspec.Raw = msgspec.Raw()
    binary: bool | None = None
    main: str | None = None


class _Limits(msgspec.Struct):
    timeout: _Whole
    memory: _Whole
    logs: _Whole | None = None
    concurrency: _Whole | None = None


class _Stub(msgspec.Struct):
    content_type: str
    digest: str
    length: int


class _Document(msgspec.Struct, rename={"revision": "_rev", "attachments": "_attachments"}):
    """Fields without a default are required (spec 6.2.1)."""

    namespace: str
    name: str
    version: str
    publish: bool
    exec: _Exec
    parameters: msgspec.Raw
    limits: _Limits
    annotations: msgspec.Raw
    updated: int | float
    revision: str | None = None
    attachments: dict[str, _Stub] | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)
_DOCUMENT: Final = msgspec.json.Decoder(_Document)
_ANY: Final = msgspec.json.Decoder()

_UNREADABLE: Final = (ValueError, msgspec.DecodeError, RecursionError)

_COMPARED: Final = (
    *("path", "name", "version", "kind", "image", "main", "code", "binary", "limits"),
    *("provide_api_key", "annotations", "parameters"),
)
"""The fields of a function that its digest is of."""

_BLACKBOX: Final = "blackbox"
_SEQUENCE: Final = "sequence"
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Stored(msgspec.Struct, frozen=True):
    """What a document says. With an attachment, the function has no code yet."""

    function: Function
    attachment: Attachment | None = None
    publish: bool = False
    """Part of what makes two functions the same (spec 10.2.1), and of nothing else here."""

    def with_code(self, data: bytes) -> Function:
        """Return the function with what its attachment holds as its code (spec 6.5.3)."""
        return _completed(self.function, code_text(data, binary=self.function.binary), publish=self.publish)


def read(document: bytes, *, document_id: str = "unknown", schemes: Collection[str] = ("couch",)) -> Stored:
    """Read a document. `document_id` is for the error, where the document itself doesn't say.

    `schemes` are those of the attachments that the store can read, beside legacy names, which have none.

    Raises:
        FunctionUnreadable: it is no action, or none that can run here.
    """
    try:
        raw.check_utf8(document)
        head = _HEAD.decode(document)
        document_id = head.id or document_id
        if head.entity_type not in {None, "action"}:
            raise names.Misfit(f"it is of type {head.entity_type!r:.40}")
        given = _DOCUMENT.decode(document)
        kind = given.exec.kind.strip().lower()
        stored = _stored(given, kind) if kind != _SEQUENCE else None
    except _UNREADABLE as error:
        raise FunctionUnreadable(document_id, raw.reason(error)) from None
    if stored is None:
        raise FunctionUnreadable(document_id, "it is a sequence, which controllers run", executable=False)
    attachment = stored.attachment
    if attachment is not None and attachment.scheme and attachment.scheme not in schemes:
        reason = f"unknown attachment scheme {attachment.scheme!r:.40}"
        raise FunctionUnreadable(document_id, reason, executable=False)  # couldn't be fetched, is not unfit (spec 9.9)
    return stored


def document(function: Function, *, updated: int) -> bytes:
    """Write the document that `read` reads as `function`, with its code inside. `updated` is in Unix milliseconds.

    Raises:
        FunctionUnreadable: `read` would refuse it, or take it for something else; says why.
    """
    try:
        annotations = parameters.with_api_key(function.annotations, provided=function.provide_api_key)
        function = msgspec.structs.replace(function, main=function.main or None, annotations=annotations)
        written = _written(function, updated)
    except _UNREADABLE as error:
        raise FunctionUnreadable(function.document_id, raw.reason(error)) from None
    found = read(written, document_id=function.document_id).function
    if found.digest != _digest(function, publish=False):
        changed = next(name for name in _COMPARED if getattr(found, name) != getattr(function, name))
        raise FunctionUnreadable(function.document_id, f"its {changed} would be read as another")
    return written


def _written(function: Function, updated: int) -> bytes:
    code: str | Attachment | None = function.code
    if function.code is not None and binary_code(function.code) != function.binary:
        code = Attachment.inline(function.code, binary=function.binary)  # as text it would be mistaken (spec T27)
    execution = {"kind": function.kind, "image": function.image, "code": code, "main": function.main}
    execution = {name: value for name, value in execution.items() if value is not None}
    return msgspec.json.encode(
        {
            "_id": function.document_id,
            **({"_rev": function.revision} if function.revision else {}),
            "entityType": "action",
            "updated": updated,
            "namespace": function.path,
            "name": function.name,
            "version": function.version,
            "publish": False,
            "exec": {**execution, "binary": function.binary},
            "parameters": function.parameters,
            "limits": function.limits,
            "annotations": function.annotations,
        }
    )


def with_digest(function: Function) -> Function:
    """Return a function that was built by hand with the digest that it would have if its document were read."""
    return msgspec.structs.replace(function, digest=_digest(function, publish=False))


def _stored(given: _Document, kind: str) -> Stored:
    annotations = parameters.values(given.annotations, "annotations")
    parameters.values(given.parameters, "parameters")
    code = _source(given.exec, kind)
    function = Function(
        path=names.entity_path(given.namespace, "namespace"),
        name=names.entity_name(given.name, "name"),
        version=names.version(given.version, "version"),
        revision=given.revision or None,
        kind=kind,
        image=_image(given.exec) if kind == _BLACKBOX else None,
        binary=binary_code(code) if isinstance(code, str) else given.exec.binary is True,
        main=given.exec.main or None,
        limits=_limits(given.limits),
        provide_api_key=parameters.provides_api_key(annotations),
        annotations=given.annotations.copy(),  # a view would keep the whole document, code included
        parameters=given.parameters.copy(),
    )
    if isinstance(code, Attachment):
        if not code.is_inline:
            return Stored(function, _checked(code, given.attachments), given.publish)
        code = code_text(code.contents(), binary=function.binary)
    return Stored(_completed(function, code, publish=given.publish), None, given.publish)


def _source(execution: _Exec, kind: str) -> str | Attachment | None:
    """Return the code, or where it is; only a user's own image may have neither (spec 6.3.3, 6.4.2)."""
    code = execution.code if execution.code is not None else execution.jar
    if code is None and kind != _BLACKBOX:
        raise names.Misfit("exec.code is missing")
    return code


def _image(execution: _Exec) -> str:
    if not raw.is_string(execution.image):
        raise names.Misfit("exec.image is no string")
    return names.image_name((raw.string(execution.image) or "").strip(), "exec.image")


def _limits(given: _Limits) -> Limits:
    return Limits(**{name: value for name, value in msgspec.structs.asdict(given).items() if value is not None})


def _checked(attachment: Attachment, stubs: dict[str, _Stub] | None) -> Attachment:
    """Return where the code is; the document's own list of attachments must agree (spec 6.5.4)."""
    if not stubs:
        return attachment
    if len(stubs) > 1:
        raise names.Misfit(f"it has {len(stubs)} attachments instead of one")
    [(name, stub)] = stubs.items()
    if attachment.id != (f"couch:{name}" if _UUID.fullmatch(name) else name):
        raise names.Misfit("its attachment is another one than exec.code names")
    return msgspec.structs.replace(attachment, length=stub.length, digest=stub.digest)


def _completed(function: Function, code: str | None, *, publish: bool) -> Function:
    """Add the code. A user's own image with blank code has none (spec 6.4.2)."""
    if function.kind == _BLACKBOX and not (code or "").strip():
        function, code = msgspec.structs.replace(function, binary=False), None
    function = msgspec.structs.replace(function, code=code)
    return msgspec.structs.replace(function, digest=_digest(function, publish=publish))


def _digest(function: Function, *, publish: bool) -> bytes:
    """Return a hash of what spec 10.2.1 compares, in whatever order the members of its JSON are."""
    plain = (
        *(function.path, function.name, function.version, publish, function.provide_api_key),
        *(function.kind, function.image, function.main, function.binary, function.code is None),
        *msgspec.structs.astuple(function.limits),
    )
    digest = hashlib.sha256()
    for part in (
        json.dumps(plain).encode(),
        _canonical(function.parameters),
        _canonical(function.annotations),
    ):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    code = function.code or ""
    for start in range(0, len(code), PIECE):
        digest.update(code[start : start + PIECE].encode(errors="surrogatepass"))
    return digest.digest()


def _canonical(value: msgspec.Raw) -> bytes:
    try:
        return msgspec.json.encode(_ANY.decode(value), order="sorted")
    except _UNREADABLE:  # such as 1e999, which is legal JSON
        return bytes(value)
