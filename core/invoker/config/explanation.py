"""What the settings are and why: for `config explain` and `config show`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from invoker.config.kinds import section_in
from invoker.config.layer import Key, Layer
from invoker.config.settings import CORE, Settings, SettingsSection
from invoker.config.spelling import dotted, human, jsonable, toml


class Explained(msgspec.Struct, frozen=True):
    """One setting."""

    key: str
    value: str
    """For people; `***` where it is secret."""
    origin: str
    """`default`, `file invoker.toml`, `environment INVOKER_POOL__MEMORY` or `command line`."""


def explained(
    settings: Settings, sections: Iterable[SettingsSection], layers: Sequence[Layer]
) -> tuple[Explained, ...]:
    """Explain every field of the sections, in their order; the entries of free tables one by one."""
    found: list[Explained] = []
    for section in sections:
        for key, value in _fields((section.name,) if section.name else (), settings[section.into]):
            origins = [str(layer.origin) for layer in layers if layer.has(key)]
            found.append(Explained(dotted(*key), human(value), origins[-1] if origins else "default"))
    return tuple(found)


def _fields(key: Key, section: msgspec.Struct) -> Iterator[tuple[Key, Any]]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        below = (*key, field.encode_name)
        if isinstance(value, msgspec.Struct):
            yield from _fields(below, value)
        elif isinstance(value, dict) and value:
            yield from (((*below, str(name)), each) for name, each in value.items())
        else:
            yield below, value


def as_toml(settings: Settings, sections: Iterable[SettingsSection] = ()) -> str:
    """Return the effective settings of the core and of the plugins' `sections` as a TOML file.

    Secrets are `***`. Durations and sizes have their shortest exact spelling.
    """
    parts: list[str] = []
    for section in (*CORE, *sections):
        header = [f"[{dotted(section.name)}]"] if section.name else []
        parts.append("\n".join([*header, *_lines((), settings[section.into])]))
    return "\n\n".join(parts) + "\n"


def _lines(key: Key, section: msgspec.Struct) -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        below = (*key, field.encode_name)
        if isinstance(value, msgspec.Struct) and section_in(field.type):
            yield from _lines(below, value)
        elif value is None:
            yield f"# {dotted(*below)} is not set"
        else:
            yield f"{dotted(*below)} = {toml(value)}"


def to_jsonable(settings: Settings, sections: Iterable[SettingsSection] = ()) -> dict[str, Any]:
    """Return the effective settings for JSON, by section, with the roles at the top level.

    Sizes are in bytes, durations in seconds, secrets `***`, and what is not set is `None`.
    """
    found: dict[str, Any] = {}
    for section in (*CORE, *sections):
        values = jsonable(settings[section.into])
        found.update({section.name: values} if section.name else values)
    return found
