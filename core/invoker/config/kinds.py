"""Types of settings' fields: what they expect, how a value becomes one, and how it is written. No secret ever is."""

import datetime as dt
import functools
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from invoker.config.sections import Secret
from invoker.units import ByteSize, Seconds, SecondsOrZero

DEEPEST, _MOST, _BITS = 16, 10_000, 64
"""Levels of tables, values in a source and bits of a number. Settings have 4, some hundred and 63; but an alias of YAML
makes values cheap to write, and Python has numbers that it refuses to print."""
_LONGEST: Final = 60  # characters of a wrong value that a message repeats
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")  # the name and password that an address may carry
_LISTS: Final = (list, tuple, set, frozenset)
_WORDS: Final[Mapping[type, str]] = {
    ByteSize: "a size such as '256 MB'",
    Seconds: "a duration such as '3 s'",
    Secret: "a string in quotes",
    Path: "a path",
    msgspec.Struct: "a table",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    dt.datetime: "a date and time",
    dt.date: "a date",
    dt.time: "a time",
}
_BOUNDS: Final[Mapping[str, str]] = {
    "gt": "above {}",
    "ge": "of at least {}",
    "lt": "below {}",
    "le": "of at most {}",
    "min_length": "of at least {} characters",
    "max_length": "of at most {} characters",
    "pattern": "that matches {!r}",
}

fields = functools.cache(msgspec.structs.fields)


def convert(kind: Any, value: Any, *, text: bool = False) -> Any:
    """Return a plain value as the type has it.

    Numbers, booleans and lists come out of a text only where the type asks for one. A `Seconds` is above 0, a
    `SecondsOrZero` and a `ByteSize` not below; a type of a plugin's own reads itself if it has a `parse` class method.

    Raises:
        ValueError: with what the type expects. It repeats the value, unless something in it may be secret.
    """
    if text and isinstance(value, str) and is_a(kind, *_LISTS):
        words = [each.strip() for each in value.split(",") if each.strip()]
        value = toml_in(value) if value.lstrip().startswith("[") else words
        if value is None:
            raise ValueError(f'expected {expected(kind)}, written like ["one", "two"]')
    try:
        return msgspec.convert(value, given(kind), strict=not text, dec_hook=_read)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter: a variable that is no UTF-8
        if holds_secret(kind):
            raise ValueError(f"expected {expected(kind)}; what was given isn't shown") from None
        own = str(error.__cause__) if isinstance(error.__cause__, ValueError | TypeError) else ""
        raise ValueError(own or f"expected {expected(kind)}, got {shown(value)}") from None


def _read(kind: type, value: Any) -> Any:
    """Make a value of a type that TOML doesn't have, or say what is wrong with it; `msgspec` calls it."""
    if isinstance(value, kind):
        return value
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    parse = _path if kind is Path else getattr(kind, "parse", None)
    if parse is None:
        raise TypeError(f"{kind.__name__} can't be read from settings: it has no class method parse")
    parsed = parse(value)
    if isinstance(parsed, Seconds) and not isinstance(parsed, SecondsOrZero) and parsed <= 0:
        raise ValueError(f"expected a duration longer than 0, such as '3 s', got {shown(value)}")
    return parsed


def _path(value: Any) -> Path:
    try:
        if isinstance(value, str) and value and "\0" not in value:
            return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"expected a path, got {shown(value)}: there is no such user") from None
    raise ValueError(f"expected a path, got {shown(value)}")


def toml_in(text: str) -> Any | None:
    """Return the TOML value that a text is, or `None` where it isn't one."""
    try:
        table = bounded(tomllib.loads(f"value = {text}"))
    except (ValueError, RecursionError):
        return None
    return table["value"] if len(table) == 1 else None


def bounded(value: Any, room: int = DEEPEST, count: Iterator[int] | None = None) -> Any:
    """Return what was written; raise a `ValueError` where it has no end, or too much in it."""
    count = count or itertools.count()
    if room == 0 or next(count) > _MOST or (isinstance(value, int) and value.bit_length() > _BITS):
        raise ValueError(f"beyond {DEEPEST} levels, {_MOST} values or {_BITS} bits of a number; no setting needs that")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        bounded(child, room - 1, count)
    return value


def given(kind: Any) -> Any:
    """Return a type without its `None`, which no source can spell: a field is unset by leaving it out."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    return Union[tuple(each for each in get_args(kind) if each is not NoneType)]  # noqa: UP007 (built at run time)


def bare(kind: Any) -> Any:
    """Return a type without its `None` and without constraints."""
    kind = given(kind)
    return bare(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def is_a(kind: Any, *classes: type) -> bool:
    """Return whether values of a type are of one of the classes."""
    found = get_origin(bare(kind)) or bare(kind)
    return isinstance(found, type) and issubclass(found, classes)


def types_in(kind: Any) -> dict[str, Any]:
    """Return the types of what is in a table with fixed keys, by name; of nothing in another type."""
    return {field.encode_name: field.type for field in fields(bare(kind))} if is_a(kind, msgspec.Struct) else {}


def values_in(kind: Any) -> Any | None:
    """Return the type of the values in a table with free keys; `None` of another type."""
    return (*get_args(bare(kind)), Any, Any)[1] if is_a(kind, Mapping) else None


def holds_secret(kind: Any) -> bool:
    """Return whether a value of a type is secret, or something in it is."""
    return bare(kind) is Secret or any(map(holds_secret, types_in(kind).values() or get_args(bare(kind))))


def expected(kind: Any) -> str:
    """Return a description of a type's values that completes "expected …"."""
    inner, parts = bare(kind), get_args(bare(kind))
    limits = [part for part in get_args(given(kind)) if isinstance(part, msgspec.Meta)]
    if get_origin(inner) in (Union, UnionType):
        return " or ".join(map(expected, parts))
    if get_origin(inner) is Literal or is_a(kind, Enum):
        words = [repr(each) for each in parts or [each.value for each in inner]]
        return ("one of " if len(words) > 1 else "") + ", ".join(words)
    if is_a(kind, Mapping):
        return f"a table, each value {expected(values_in(kind))}"
    if is_a(kind, tuple) and parts and Ellipsis not in parts:
        return f"a list of {', '.join(map(expected, parts))}"
    if is_a(kind, *_LISTS):
        filled = " that is not empty" if any(limit.min_length for limit in limits) else ""
        return f"a list{filled}, each item {expected((*parts, Any)[0])}"
    if hasattr(inner, "parse") and not is_a(kind, ByteSize, Seconds, msgspec.Struct):
        return str(inner.__name__)
    word = next((word for cls, word in _WORDS.items() if is_a(kind, cls)), "another value")
    bounds = [(text, getattr(limit, name)) for limit in limits for name, text in _BOUNDS.items()]
    said = " and ".join(text.format(bound) for text, bound in bounds if bound is not None)
    return "any value" if inner is Any else f"{word} {said}".rstrip()


def plain(value: Any, hook: Callable[[Any], Any] = str, *, unset: bool = False) -> Any:
    """Return a value as dictionaries, lists, texts and numbers, masked; with what isn't set, or without it."""
    match msgspec.to_builtins(value, enc_hook=hook):
        case dict() as table:
            return {str(name): plain(each, unset=unset) for name, each in table.items() if unset or each is not None}
        case list() | tuple() as items:
            return [plain(each, unset=unset) for each in items]
        case other:
            return masked(other) if isinstance(other, str) else other


def toml(value: Any) -> str:
    """Return a value as TOML writes it, which is JSON with another separator; what is secret as `***`."""
    text = json.dumps(plain(value), ensure_ascii=False, separators=(", ", " = "))
    text = re.sub(r'(?<!\\)"([A-Za-z0-9_-]+)" = ', r"\1 = ", text)  # names need no quotes
    text = {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}.get(text, text)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # it has no lone surrogates
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)


def shown(value: Any) -> str:
    """Return a wrong value for a message, shortened. The caller makes sure that it isn't secret."""
    text = repr(masked(value)) if isinstance(value, str) else toml(value)
    text = str(value) if isinstance(value, dt.date | dt.time) else text
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def human(value: Any) -> str:
    """Return a value for a line that a person reads: as TOML has it, but text without quotes where it needs none."""
    text = "not set" if value is None else toml(value)
    return text[1:-1] if re.fullmatch(r'"[^"\\]+"', text) else text


def masked(text: str) -> str:
    """Return text without the name and password of an address in it."""
    return _USERINFO.sub("***@", text)


def dotted(*names: str) -> str:
    """Return a key as TOML writes it: `pool.memory`."""
    return ".".join(name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name) for name in names)
