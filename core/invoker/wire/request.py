"""Activation messages: what a controller sends, read once into a `Request` (spec 1).

Everything that is only passed on stays as it came: arguments, authentication key, transaction. What a message has
beyond the fields named here is ignored (spec 0.3.3), duplicates of a field too: the last one counts.
"""

import re
import time
from functools import lru_cache
from typing import Final

import msgspec

from invoker.entities.function import FunctionRef
from invoker.entities.request import Request, Transaction
from invoker.errors import MalformedRequest
from invoker.wire import caller, names, raw

_ABSENT: Final = msgspec.Raw()
_NULL: Final = msgspec.Raw(b"null")


class _Action(msgspec.Struct, gc=False):
    path: str
    name: str
    version: str | None = None
    binding: str | None = None


class _Controller(msgspec.Struct, gc=False, rename="camel"):
    as_string: str
    instance_type: str | None = None


class _Message(msgspec.Struct, gc=False, rename="camel"):
    transid: msgspec.Raw
    action: _Action | str
    user: msgspec.Raw
    activation_id: str | int
    root_controller_index: _Controller
    blocking: bool
    revision: str | None = None
    content: msgspec.Raw = _ABSENT
    init_args: tuple[str, ...] | None = ()
    locked_args: dict[str, str] | None = None
    cause: str | int | None = None


_MESSAGE: Final = msgspec.json.Decoder(_Message)
_ANY: Final = msgspec.json.Decoder()

_ID: Final = re.compile(r"[0-9a-f]{32}")
_CONTROLLER: Final = re.compile(r"[a-zA-Z0-9._-]{1,128}")

_UNKNOWN: Final = "sid_unknown"
_STARTED: Final = time.time_ns() // 1_000_000
"""When a transaction began that doesn't say so: a constant, as upstream has it (spec 1.3.2)."""
_LATEST: Final = (1 << 63) - 1


_FAULTS: Final = (names.Misfit, raw.NotJSON, msgspec.ValidationError, UnicodeDecodeError, RecursionError)
"""What reading a message may raise, but for `DecodeError`, which needs a second look."""


def parse(body: bytes) -> Request:
    """Read an activation message. What controllers of the Go variant may leave out may be absent (spec 1.10).

    Raises:
        MalformedRequest: it is none; says what is wrong and where, and repeats nothing of it. Nothing else is raised.
    """
    try:
        raw.check_utf8(body)
        read = _MESSAGE.decode(body)
        return _request(read, read.content, read.transid)
    except _FAULTS as error:
        raise _malformed(error) from None
    except msgspec.DecodeError as error:
        if not body.strip():
            raise MalformedRequest("not an activation message: it is empty") from None
        if not raw.has_surrogates(body):
            raise _malformed(error) from None
        return _with_surrogates(body)


def message(request: Request) -> bytes:
    """Write the message that `parse` reads as `request`, with all that upstream's reader asks for (spec 1.2, T17)."""
    ref = request.function
    action = {"path": ref.path, "name": ref.name, "version": ref.version}
    if ref.binding is not None:
        action["binding"] = ref.binding
    optional = {"content": request.content, "cause": request.cause}
    return msgspec.json.encode(
        {
            "transid": request.transaction.raw,
            "action": action,
            "revision": ref.revision,
            "user": caller.write(request.caller),
            "activationId": request.activation_id,
            "rootControllerIndex": {"asString": request.controller, "instanceType": "controller"},
            "blocking": request.blocking,
            "initArgs": request.init_names,
            "lockedArgs": request.locked,
            **{name: value for name, value in optional.items() if value is not None},
        }
    )


def _malformed(error: Exception) -> MalformedRequest:
    return MalformedRequest(f"not an activation message: {raw.reason(error)}")


def _with_surrogates(body: bytes) -> Request:
    """Read a message with lone surrogate escapes: its arguments and its transaction may have them, nothing else."""
    try:
        read = _MESSAGE.decode(raw.masked(body))
        content, transid = raw.unmasked(read.content), raw.unmasked(read.transid)
        read.content = read.transid = _NULL
        rest = raw.unmasked(msgspec.Raw(msgspec.json.encode(read)))
        return _request(_MESSAGE.decode(rest), content, transid)
    except (*_FAULTS, msgspec.DecodeError) as error:
        raise _malformed(error) from None


def _request(read: _Message, content: msgspec.Raw, transid: msgspec.Raw) -> Request:
    controller = read.root_controller_index
    if _CONTROLLER.fullmatch(controller.as_string) is None or controller.instance_type not in {None, "controller"}:
        raise names.Misfit("rootControllerIndex names no controller")
    return Request(
        activation_id=_activation_id(read.activation_id, "activationId"),
        transaction=_transaction(transid),
        function=_function(read.action, read.revision or None),
        caller=caller.read(bytes(read.user)),
        controller=controller.as_string,
        blocking=read.blocking,
        content=_content(content),
        init_names=read.init_args or (),
        locked=read.locked_args or {},
        cause=_activation_id(read.cause, "cause") if read.cause else None,
    )


def _activation_id(value: str | int, place: str) -> str:
    """Return an id (spec 1.2.2); one of digits alone may have come as a number."""
    text = value if isinstance(value, str) else str(value)
    if _ID.fullmatch(text) is None:
        raise names.Misfit(f"{place} is not 32 characters of 0-9 and a-f")
    return text


def _content(content: msgspec.Raw) -> msgspec.Raw | None:
    """Return the arguments. Upstream has no use for a scalar and no controller sends one (spec 1.9.2)."""
    first = memoryview(content)[:1].tobytes()
    if first in {b"{", b"["}:
        return content
    if first in {b"", b"n"}:
        return None
    raise names.Misfit("content is neither an object nor an array")


def _function(action: _Action | str, revision: str | None) -> FunctionRef:
    if isinstance(action, str):
        path, name = names.qualified_name(action, "action")
        return FunctionRef(path, name, names.DEFAULT_VERSION, revision)
    parts = (action.path, action.name, action.version or None, revision, action.binding or None)
    usual = len(action.path) + len(action.name) + len(revision or "") + len(action.binding or "") <= _USUAL
    return _known_ref(*parts) if usual else _ref(*parts)


_USUAL: Final = 1024
"""Characters of a reference that is remembered; 80 are usual, and a stranger may send a megabyte."""


def _ref(path: str, name: str, version: str | None, revision: str | None, binding: str | None) -> FunctionRef:
    return FunctionRef(
        names.entity_path(path, "action.path"),
        names.entity_name(name, "action.name"),
        names.version(version, "action.version") if version else names.DEFAULT_VERSION,
        revision,
        names.entity_path(binding, "action.binding") if binding else None,
    )


_known_ref: Final = lru_cache(maxsize=4096)(_ref)
"""The same few actions come again and again: 0.3 µs instead of 2. At most 10 MB, values included."""


def _transaction(transid: msgspec.Raw) -> Transaction:
    """Read any of the four shapes of spec 1.3; any other transaction is unknown, which is no error (spec 1.3.2)."""
    try:
        parts = _ANY.decode(transid)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parts = None
    if type(parts) is list and len(parts) > 1:
        identity, start, *rest = parts
        timed = type(start) in {int, float} and -_LATEST <= start <= _LATEST
        if timed and type(identity) is str and (not rest or _is_ending(rest)):
            return Transaction(identity, int(start), rest[:1] == [True], transid)
    return Transaction(_UNKNOWN, _STARTED, extra_logging=False, raw=transid)


def _is_ending(rest: list[object]) -> bool:
    """Return whether extra logging, or the parent, or both, end a transaction; nobody looks into the parent."""
    return [type(part) for part in rest] in ([bool], [list], [bool, list])
