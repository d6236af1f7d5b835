"""The `user` of an activation message: on whose behalf a function runs (spec 1.5)."""

from functools import lru_cache
from typing import Annotated, Final, TypeAlias

import msgspec

from invoker.entities.request import NARROWS_NOTHING, Caller, CallerLimits
from invoker.units import ByteSize
from invoker.wire import names, raw

_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class _Namespace(msgspec.Struct, gc=False):
    """Of `user`, as it is on the wire. `annotations` come from the Go variant's controllers alone (spec 1.10.2)."""

    name: str
    uuid: str | None = None
    annotations: msgspec.Raw = msgspec.Raw()


class _Limits(
    msgspec.Struct,
    gc=False,
    omit_defaults=True,
    rename={
        "store_activations": "storeActivations",
        "min_timeout": "minActionTimeout",
        "max_timeout": "maxActionTimeout",
        "min_memory": "minActionMemory",
        "max_memory": "maxActionMemory",
        "min_logs": "minActionLogs",
        "max_logs": "maxActionLogs",
        "min_concurrency": "minActionConcurrency",
        "max_concurrency": "maxActionConcurrency",
        "max_payload": "maxPayloadSize",
        "truncation": "truncationSize",
    },
):
    """What of the 19 names of spec 1.5.3 an invoker looks at, as it is on the wire."""

    store_activations: bool | None = None
    min_timeout: _Whole | None = None
    max_timeout: _Whole | None = None
    min_memory: _Whole | None = None
    max_memory: _Whole | None = None
    min_logs: _Whole | None = None
    max_logs: _Whole | None = None
    min_concurrency: _Whole | None = None
    max_concurrency: _Whole | None = None
    max_payload: str | None = None
    truncation: str | None = None


class _User(msgspec.Struct, gc=False):
    """As it is on the wire. `rights` were the controller's to check."""

    subject: str
    namespace: _Namespace
    authkey: msgspec.Raw = msgspec.Raw(b"{}")
    limits: _Limits | None = None


_NO_LIMITS: Final = _Limits()
_SHORTEST_SUBJECT: Final = 5
_RIGHTS: Final = ("READ", "PUT", "DELETE", "ACTIVATE")
_USER: Final = msgspec.json.Decoder(_User)

_USUAL: Final = 4096
"""Bytes of a `user` that is remembered; 700 are usual, and a stranger may send a megabyte."""


def read(user: bytes) -> Caller:
    """Return the caller that the JSON of `user` describes.

    Raises:
        names.Misfit: a field is of no use.
        msgspec.DecodeError: it isn't JSON that can be read.
    """
    return _remembered(user) if len(user) <= _USUAL else _read(user)


def _read(user: bytes) -> Caller:
    try:
        return _caller(_USER.decode(user))
    except msgspec.ValidationError as error:
        raise names.Misfit(str(error).replace("`$", "`$.user", 1)) from None


_remembered: Final = lru_cache(maxsize=1024)(_read)
"""The same few callers come again and again: 0.3 µs instead of 2. At most 8 MB, values included."""


def _caller(user: _User) -> Caller:
    if len(user.subject) < _SHORTEST_SUBJECT:
        raise names.Misfit(f"user.subject has fewer than {_SHORTEST_SUBJECT} characters")
    if not raw.is_object(user.authkey):
        raise names.Misfit("user.authkey is no object")
    namespace = user.namespace
    return Caller(
        subject=user.subject,
        namespace=names.entity_name(namespace.name, "user.namespace.name"),
        namespace_uuid=namespace.uuid or "",
        authkey=user.authkey,
        limits=_limits(user.limits),
        annotations=namespace.annotations if raw.is_array(namespace.annotations) else None,
    )


def write(caller: Caller) -> dict[str, object]:
    """Return what `read` reads, with all that upstream's reader asks for."""
    namespace: dict[str, object] = {"name": caller.namespace, "uuid": caller.namespace_uuid}
    if caller.annotations is not None:
        namespace["annotations"] = caller.annotations
    return {
        "subject": caller.subject,
        "namespace": namespace,
        "authkey": caller.authkey,
        "rights": _RIGHTS,
        "limits": _limits_of(caller.limits),
    }


def _limits(given: _Limits | None) -> CallerLimits:
    if given is None or given == _NO_LIMITS:
        return NARROWS_NOTHING
    read = {
        "store_activations": given.store_activations is not False,
        "max_payload": _size(given.max_payload, "user.limits.maxPayloadSize"),
        "truncation": _size(given.truncation, "user.limits.truncationSize"),
    }
    return CallerLimits(**msgspec.structs.asdict(given) | read)


def _size(text: str | None, place: str) -> int | None:
    """Read a size such as `1 MB` (spec 2.6.3)."""
    if text is None:
        return None
    try:
        return int(ByteSize.parse(text))
    except ValueError:
        raise names.Misfit(f"{place} is no size such as '1 MB'") from None


def _limits_of(limits: CallerLimits) -> _Limits:
    sizes = {"max_payload": limits.max_payload, "truncation": limits.truncation}
    written: dict[str, object] = {name: None if size is None else f"{int(size)} B" for name, size in sizes.items()}
    written["store_activations"] = None if limits.store_activations else False
    return _Limits(**msgspec.structs.asdict(limits) | written)
