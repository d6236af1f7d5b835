"""Questions about the types of settings' fields."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import inspect

from invoker.config.secret import Secret
from invoker.units import ByteSize, Seconds

_LISTS: Final = (list, tuple, set, frozenset)

_KNOWN: Final[Mapping[type, str]] = {
    ByteSize: "a size such as '256 MB'",
    Seconds: "a duration such as '3 s'",
    Secret: "a string in quotes",
    Path: "a path",
}

_PLAIN: Final[Mapping[type[inspect.Type], str]] = {
    inspect.BoolType: "true or false",
    inspect.StructType: "a table",
    inspect.DateType: "a date",
    inspect.TimeType: "a time",
    inspect.DateTimeType: "a date and time",
    inspect.AnyType: "any value",
}


def optional(kind: Any) -> bool:
    """Return whether `None` is a value of the type."""
    return get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind)


def given(kind: Any) -> Any:
    """Return the type without its `None`, which no source can spell: a field is unset by leaving it out."""
    if not optional(kind):
        return kind
    return Union[tuple(each for each in get_args(kind) if each is not NoneType)]  # noqa: UP007 (built at run time)


def bare(kind: Any) -> Any:
    """Return the type without its `None` and without constraints."""
    kind = given(kind)
    return bare(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def section_in(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct of a type that is a table with fixed keys."""
    inner = bare(kind)
    return inner if isinstance(inner, type) and issubclass(inner, msgspec.Struct) else None


def values_in(kind: Any) -> Any | None:
    """Return the type of the values of a type that is a table with free keys."""
    inner = bare(kind)
    if not issubclass(_origin(inner), Mapping):
        return None
    return get_args(inner)[1] if get_args(inner) else Any


def is_list(kind: Any) -> bool:
    """Return whether the type is one of TOML's lists."""
    return issubclass(_origin(bare(kind)), _LISTS)


def holds_lists(kind: Any) -> bool:
    """Return whether the items of a list are lists or tables themselves."""
    items = [each for each in get_args(bare(kind)) if each is not Ellipsis]
    return any(is_list(each) or section_in(each) or values_in(each) is not None for each in items)


def _origin(kind: Any) -> type:
    origin = get_origin(kind) or kind
    return origin if isinstance(origin, type) else object


def holds_secret(kind: Any) -> bool:
    """Return whether a value of the type is secret, or something in it is."""
    section = section_in(kind)
    if section is not None:
        return any(holds_secret(field.type) for field in msgspec.structs.fields(section))
    return bare(kind) is Secret or any(holds_secret(each) for each in get_args(bare(kind)) if each is not Ellipsis)


def example(kind: Any) -> Any | None:
    """Return what `msgspec.Meta(examples=[…])` of the type has first, if anything."""
    for part in get_args(kind):
        if isinstance(part, msgspec.Meta) and part.examples:
            return part.examples[0]
        found = example(part)
        if found is not None:
            return found
    return None


def expected(kind: Any) -> str:
    """Return a description of the type's values that completes "expected …"."""
    if get_origin(bare(kind)) is Literal:
        return _one_of(get_args(bare(kind)))  # in its author's order; msgspec sorts
    return _described(inspect.type_info(given(kind)))


def _described(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata():
            return _described(info.type)
        case inspect.UnionType():
            return " or ".join(_described(each) for each in info.types)
        case inspect.CustomType():
            return next((text for cls, text in _KNOWN.items() if issubclass(info.cls, cls)), info.cls.__name__)
        case inspect.DictType():
            return f"a table, each value {_described(info.value_type)}"
        case inspect.TupleType():
            return f"a list of {', '.join(_described(each) for each in info.item_types)}"
        case inspect.CollectionType():
            return f"{_list(info)}, each item {_described(info.item_type)}"
        case _:
            return _scalar(info)


def _list(info: inspect.CollectionType) -> str:
    return "a list that is not empty" if info.min_length else "a list"


def _scalar(info: inspect.Type) -> str:
    match info:
        case inspect.IntType() | inspect.FloatType():
            return _number(info)
        case inspect.StrType():
            return _string(info)
        case inspect.LiteralType():
            return _one_of(info.values)
        case inspect.EnumType():
            return _one_of([each.value for each in info.cls])
        case _:
            return _PLAIN.get(type(info), "another value")


def _number(info: inspect.IntType | inspect.FloatType) -> str:
    bounds = (("above", info.gt), ("of at least", info.ge), ("below", info.lt), ("of at most", info.le))
    said = [f"{words} {bound}" for words, bound in bounds if bound is not None]
    what = "a whole number" if isinstance(info, inspect.IntType) else "a number"
    return " ".join([what, " and ".join(said)]).rstrip()


def _string(info: inspect.StrType) -> str:
    bounds = (("of at least", info.min_length), ("of at most", info.max_length))
    said = " and ".join(f"{words} {bound} characters" for words, bound in bounds if bound is not None)
    pattern = "" if info.pattern is None else f"that matches {info.pattern!r}"
    return " ".join(part for part in ("a string", said, pattern) if part)


def _one_of(values: Collection[Any]) -> str:
    return ("one of " if len(values) > 1 else "") + ", ".join(repr(value) for value in values)
