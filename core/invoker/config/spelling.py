"""How settings' values are written for people and machines. What is secret is never written."""

import datetime as dt
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec

from invoker.config.secret import SHOWN, Secret
from invoker.units import ByteSize, Seconds

_LONGEST: Final = 60  # characters of a wrong value that a message repeats
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")
"""The name and password that an address may carry."""


def toml(value: Any) -> str:
    """Return a value as TOML writes it; secrets, and passwords in addresses, as `***`."""
    match value:
        case msgspec.Struct() | Mapping():
            pairs = ", ".join(f"{dotted(str(name))} = {toml(each)}" for name, each in _said(value))
            return f"{{ {pairs} }}" if pairs else "{}"
        case list() | tuple() | set() | frozenset():
            return f"[{', '.join(toml(each) for each in value)}]"
        case Enum():
            return toml(value.value)
        case _:
            return _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case ByteSize() | Seconds() | Secret():
            return quoted(str(value))
        case int() | float():
            return repr(value)
        case dt.date() | dt.time():  # a date and time is a date too
            return value.isoformat()
        case _:
            return quoted(masked(str(value)))


def dotted(*names: str) -> str:
    """Return a key as TOML writes it: `pool.memory`."""
    return ".".join(name if _BARE_KEY.fullmatch(name) else quoted(name) for name in names)


def quoted(text: str) -> str:
    """Return text as a TOML string. A lone surrogate, which TOML can't have, becomes U+FFFD."""
    return f'"{"".join(_escaped(character) for character in text)}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    if character.isprintable():
        return character
    return f"\\U{ord(character):08x}"


def jsonable(value: Any) -> Any:
    """Return a value as JSON can have it: sizes in bytes, durations in seconds, `***` for what is secret."""
    match value:
        case msgspec.Struct():
            return {field.encode_name: jsonable(getattr(value, field.name)) for field in msgspec.structs.fields(value)}
        case Mapping():
            return {str(name): jsonable(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [jsonable(each) for each in value]
        case Enum():
            return jsonable(value.value)
        case None | bool():
            return value
        case int() | float():
            return int(value) if isinstance(value, int) else float(value)
        case _:
            return _unquoted(value)


def _unquoted(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date | dt.time) else masked(str(value))


def human(value: Any) -> str:
    """Return a value for a line that a person reads."""
    if value is None:
        return "not set"
    if isinstance(value, str) and value and value.isprintable():
        return masked(value)
    if isinstance(value, ByteSize | Seconds | Secret | Path):
        return masked(str(value))
    return toml(value)


def shown(value: Any) -> str:
    """Return a wrong value for a message, shortened. The caller makes sure that it isn't secret."""
    text = repr(masked(value)) if isinstance(value, str) else toml(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def masked(text: str) -> str:
    """Return text without the name and password of an address in it."""
    return _USERINFO.sub(f"{SHOWN}@", text)


def _said(table: msgspec.Struct | Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Return what a table says; TOML has no word for a field that isn't set."""
    if isinstance(table, Mapping):
        return list(table.items())
    fields = msgspec.structs.fields(table)
    pairs = [(field.encode_name, getattr(table, field.name)) for field in fields]
    return [(name, value) for name, value in pairs if value is not None]


def printable(text: str) -> str:
    """Return a name for a message: as it is where it can be printed, escaped where not."""
    return text if text.isprintable() else repr(text)[1:-1]
