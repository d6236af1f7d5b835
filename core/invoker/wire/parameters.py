"""Lists of `{"key": …, "value": …}`: an action's parameters and annotations (spec 6.9, 6.10)."""

import re
from typing import Final

import msgspec

from invoker.wire import names


class _Parameter(msgspec.Struct):
    key: str
    value: msgspec.Raw
    init: bool | msgspec.UnsetType = msgspec.UNSET
    encryption: str | msgspec.UnsetType | None = msgspec.UNSET


class _Written(msgspec.Struct):
    key: str
    value: bool


_PARAMETERS: Final = msgspec.json.Decoder(list[_Parameter])
_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])

_API_KEY: Final = "provide-api-key"

_EMPTY: Final = b'""'
_NOT_ZERO: Final = re.compile(rb"-?[0.]*[1-9]")


def values(elements: msgspec.Raw, place: str) -> dict[str, msgspec.Raw]:
    """Return the values by key; of two alike the last.

    Raises:
        Misfit: one element is malformed, which spoils the whole list (spec 6.10.1).
    """
    try:
        read = _PARAMETERS.decode(elements)
    except msgspec.ValidationError as error:
        raise names.Misfit(f"{place}: {error}") from None
    if any(one.encryption is None and one.init is msgspec.UNSET for one in read):
        raise names.Misfit(f"{place} has an element with no encryption and no init")
    return {one.key: one.value for one in read}


def provides_api_key(annotations: dict[str, msgspec.Raw]) -> bool:
    """Return whether functions with these annotations see the caller's key: unless they say no (spec 6.9.1)."""
    value = annotations.get(_API_KEY)
    return value is None or _is_true(bytes(value))


def with_api_key(annotations: msgspec.Raw, *, provided: bool) -> msgspec.Raw:
    """Return annotations that say whether the caller's key is shown; the same ones, if they do."""
    if provides_api_key(values(annotations, "annotations")) == provided:
        return annotations
    said = msgspec.Raw(msgspec.json.encode(_Written(_API_KEY, provided)))
    return msgspec.Raw(msgspec.json.encode([*_ELEMENTS.decode(annotations), said]))


def _is_true(value: bytes) -> bool:
    """Return whether a value counts as true: `"false"`, `[]` and `{}` do (spec 6.9.1)."""
    match value[:1]:
        case b"t" | b"[" | b"{":
            return True
        case b'"':
            return value != _EMPTY
        case b"f" | b"n":
            return False
        case _:
            return _NOT_ZERO.match(value) is not None
