"""A settings file to start from: every section and field, its default and what it is for."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from invoker.config.conversion import Misfit, convert
from invoker.config.kinds import bare, example, expected, holds_secret, section_in
from invoker.config.layer import Key
from invoker.config.secret import Secret
from invoker.config.settings import CORE, SettingsSection
from invoker.config.spelling import dotted, toml
from invoker.units import ByteSize, Seconds

_WIDTH: Final = 100

_INTRODUCTION: Final = (
    'Settings of the invoker. A line that begins with "#" and no space is a setting at its default: take the "#" away '
    "to change it. Every setting can also be given in the environment, pool.memory as INVOKER_POOL__MEMORY, and on the "
    "command line, which wins. Passwords belong in a file of their own or in the environment."
)

_EXAMPLES: Final[Mapping[type, Any]] = {Path: "/path/to/it", ByteSize: "1 MB", Seconds: "1 s", Secret: ""}
_OTHER_EXAMPLES: Final[tuple[Any, ...]] = ("", 0, 1, False, [], {})
"""Tried in turn where a field has no default and its type no example."""


def template(sections: Iterable[SettingsSection] = ()) -> str:
    """Return a TOML file with all settings of the core and of the plugins' `sections`, as comments.

    What a field is for is the string below it in its class. A field without a default shows the first of the
    `msgspec.Meta(examples=[…])` of its type.
    """
    parts = [_prose(_INTRODUCTION)]
    for section in (*CORE, *sections):
        header = [f"[{dotted(section.name)}]"] if section.name else []
        about = _prose(inspect.cleandoc(section.into.__doc__ or ""))
        parts.append("\n".join([*([about] if about else []), *header]))
        parts.extend(_fields((), section.into))
    return "\n\n".join(parts) + "\n"


def _fields(key: Key, into: type[msgspec.Struct]) -> Iterator[str]:
    docs = documentation(into)
    for field in msgspec.structs.fields(into):
        below = (*key, field.encode_name)
        inner = section_in(field.type)
        if inner is not None:
            if field.name in docs:
                yield _prose(docs[field.name])
            yield from _fields(below, inner)
            continue
        lines = [docs.get(field.name, ""), *_remarks(field)]
        yield "\n".join([_prose(line) for line in lines if line] + [_setting(below, field)])


def _remarks(field: msgspec.structs.FieldInfo) -> Iterator[str]:
    if expected(field.type).startswith("one of "):
        yield f"One of {expected(field.type).removeprefix('one of ')}."
    if holds_secret(field.type):
        yield "Secret: better in the secrets file or in the environment."
    if field.required:
        yield "Must be given."
    elif _default(field) is None:
        yield "Not set by default."


def _setting(key: Key, field: msgspec.structs.FieldInfo) -> str:
    value = None if field.required else _default(field)
    if value is None:
        value = _example(field.type)
    if value is None:  # nothing that could be uncommented
        return f"# {dotted(*key)} = {expected(field.type)}"
    return f"#{dotted(*key)} = {toml(value)}"


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _example(kind: Any) -> Any | None:
    """Return a value that the type takes, as TOML has it, or `None` when none comes to mind."""
    inner = bare(kind)
    literals = get_args(inner) if get_origin(inner) is Literal else ()
    known = [value for cls, value in _EXAMPLES.items() if isinstance(inner, type) and issubclass(inner, cls)]
    for candidate in (example(kind), *literals, *known, *_OTHER_EXAMPLES):
        if candidate is None:
            continue
        try:
            convert(kind, candidate)
        except Misfit:
            continue
        return candidate
    return None


def documentation(section: type[msgspec.Struct]) -> dict[str, str]:
    """Return the text below each field in a class and those it inherits from; empty where there is no source."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        if issubclass(cls, msgspec.Struct) and cls is not msgspec.Struct:
            found.update(_documented(cls))
    return found


def _documented(cls: type) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # made at run time, or shipped without source
        return
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                yield name, inspect.cleandoc(text)


def _prose(text: str) -> str:
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, _WIDTH) or [""]]
    return "\n".join(f"# {line}".rstrip() for line in lines)
