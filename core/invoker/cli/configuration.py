"""`invoker config`: where settings come from and what they are, and a settings file to start from."""

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import click
import msgspec

from invoker.app import verify
from invoker.cli.program import CommandLine
from invoker.cli.terminal import MISUSED, json_option, note, say, show_json, show_table, tell
from invoker.config import CORE, ByteSize, Seconds, SecondsOrZero, Settings, SettingsSection
from invoker.config.kinds import bare, convert, dotted, expected, fields, given, holds_secret, is_a, plain, toml
from invoker.errors import SettingsError

_INTRODUCTION: Final = (
    'Settings of the invoker. A line that begins with "#" and no space is a setting at its default: take the "#" away '
    "to change it. Every setting can also be given in the environment, pool.memory as INVOKER_POOL__MEMORY, and on the "
    "command line, which wins. Passwords belong in a file of their own or in the environment."
)
_EXAMPLES: Final[tuple[Any, ...]] = ("", "/path/to/it", "1 MB", "1 s", 0, 1, False, [], {})
"""Tried in turn where a field has no default and its type no example."""
_DOCUMENTED: Final = re.compile(r'^    (\w+): (?:(?!^    \w).)*?^    """(.*?)"""$', re.MULTILINE | re.DOTALL)
"""A field in a class, and the string right below it."""


@click.group()
def config() -> None:
    """Make, show, check and explain the settings."""


@config.command()
@click.argument("file", default="invoker.toml", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def init(program: CommandLine, file: Path, *, as_json: bool) -> None:
    """Write a commented settings file with every setting at its default; never over one that exists."""
    try:
        with file.open("x") as new:
            new.write(template(program.sections))
    except FileExistsError as error:
        raise click.ClickException(f"{file} is there already; move it away, or name another file") from error
    except OSError as error:
        raise click.ClickException(f"can't write {file}: {error.strerror}") from error
    advice = f"wrote {file}; uncomment what you want to change, then: invoker --config {file} config validate"
    tell({"written": str(file)}, advice, as_json=as_json)


@config.command()
@json_option
@click.pass_obj
def show(program: CommandLine, *, as_json: bool) -> None:
    """Show the settings in effect. Secrets are not shown."""
    shown = (program.settings, program.sections)
    tell(to_jsonable(*shown), lambda: click.echo(as_toml(*shown), nl=False), as_json=as_json)


@config.command()
@json_option
@click.pass_obj
def validate(program: CommandLine, *, as_json: bool) -> None:
    """Check the settings; every fault is listed."""
    try:
        warnings = [*program.layers.warnings, *verify(program.settings)]
    except SettingsError as error:
        if not as_json:
            raise
        show_json({"valid": False, "faults": error.faults})
        sys.exit(MISUSED)
    if not as_json:
        for warning in warnings:
            note(f"warning: {warning}", "yellow")
    valid = {"valid": True, "warnings": warnings}
    tell(valid, lambda: say("the settings are valid", "green"), as_json=as_json)


@config.command()
@json_option
@click.pass_obj
def explain(program: CommandLine, *, as_json: bool) -> None:
    """Show where each value comes from, and what it overrode."""
    explained = program.layers.explain(program.sections)
    overrode = ["; ".join(f"{each.value} ({each.origin})" for each in reversed(one.overrode)) for one in explained]
    rows = [(one.key, one.value, one.origin, below) for one, below in zip(explained, overrode, strict=True)]
    files = [str(file) for file in program.layers.files]
    columns = ("SETTING", "VALUE", "FROM", "OVERRODE")
    tell({"files": files, "values": explained}, lambda: show_table(columns, rows), as_json=as_json)
    if not as_json:
        note(f"files read: {', '.join(files) or 'none'}", "dim")


def as_toml(settings: Settings, sections: Iterable[SettingsSection] = ()) -> str:
    """Return the effective settings of the core and of the plugins' `sections` as a TOML file.

    Secrets are `***`. Durations and sizes have their shortest exact spelling.
    """
    parts = []
    for section in (*CORE, *sections):
        header = [f"[{dotted(section.name)}]"] if section.name else []
        parts.append("\n".join([*header, *_lines(settings[section.into])]) + "\n")
    return "\n".join(parts)


def _lines(section: msgspec.Struct, *key: str) -> Iterator[str]:
    for field in fields(type(section)):
        value, name = getattr(section, field.name), dotted(*key, field.encode_name)
        if isinstance(value, msgspec.Struct):
            yield from _lines(value, *key, field.encode_name)
        else:
            yield f"# {name} is not set" if value is None else f"{name} = {toml(value)}"


def to_jsonable(settings: Settings, sections: Iterable[SettingsSection] = ()) -> dict[str, Any]:
    """Return the effective settings for JSON, by section, with the roles at the top level.

    Sizes are in bytes, durations in seconds, secrets `***`, and what is not set is `None`.
    """
    units: dict[type, type] = {ByteSize: int, Seconds: float, SecondsOrZero: float}
    made = [(section.name, settings[section.into]) for section in (*CORE, *sections)]
    found = {name: plain(each, lambda value: units.get(type(value), str)(value), unset=True) for name, each in made}
    return {**found.pop(""), **found}


def template(sections: Iterable[SettingsSection] = ()) -> str:
    """Return a TOML file with all settings of the core and of the plugins' `sections`, as comments.

    What a field is for is the string below it in its class. A field without a default shows the first of the
    `msgspec.Meta(examples=[…])` of its type.
    """
    parts = [_prose(_INTRODUCTION)]
    for section in (*CORE, *sections):
        about = _prose(inspect.cleandoc(section.into.__doc__ or ""))
        header = f"[{dotted(section.name)}]" if section.name else ""
        parts.extend(["\n".join(part for part in (about, header) if part), *_offers(section.into)])
    return "\n\n".join(parts) + "\n"


def _offers(into: Any, *key: str) -> Iterator[str]:
    docs = documentation(into)
    for field in fields(into):
        name, table = (*key, field.encode_name), is_a(field.type, msgspec.Struct)
        prose = [docs.get(field.name, ""), *([] if table else _remarks(field))]
        offer = [] if table else [_offer(dotted(*name), field)]
        if lines := [*(_prose(each) for each in prose if each), *offer]:
            yield "\n".join(lines)
        if table:
            yield from _offers(bare(field.type), *name)


def _remarks(field: msgspec.structs.FieldInfo) -> Iterator[str]:
    if expected(field.type).startswith("one of "):
        yield f"One of {expected(field.type).removeprefix('one of ')}."
    if holds_secret(field.type):
        yield "Secret: better in the secrets file or in the environment."
    if field.required or field.default is None:
        yield "Must be given." if field.required else "Not set by default."


def _offer(name: str, field: msgspec.structs.FieldInfo) -> str:
    """Return a field's line: at its default, or at a value that its type takes."""
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if default is not msgspec.NODEFAULT and default is not None:
        return f"#{name} = {toml(default)}"
    inner = bare(field.type)
    examples = [
        each for part in get_args(given(field.type)) if isinstance(part, msgspec.Meta) for each in part.examples or ()
    ]
    for value in (*examples, *(get_args(inner) if get_origin(inner) is Literal else ()), *_EXAMPLES):
        with suppress(ValueError):
            convert(field.type, value)
            return f"#{name} = {toml(value)}"
    return f"# {name} = {expected(field.type)}"  # nothing that could be uncommented


def documentation(section: type[msgspec.Struct]) -> dict[str, str]:
    """Return the text below each field in a class and those it inherits from; empty where there is no source."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        with suppress(OSError, TypeError):  # made at run time, or shipped without source
            found_here = _DOCUMENTED.findall(textwrap.dedent(inspect.getsource(cls)))
            found.update({name: inspect.cleandoc(text) for name, text in found_here})
    return found


def _prose(text: str) -> str:
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, 100) or [""]]
    return "\n".join(f"# {line}".rstrip() for line in lines)
