"""From what the sources say to what it means: sections, every fault on the way, and where each value comes from."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from invoker.config.kinds import bare, convert, dotted, fields, holds_secret, human, is_a, types_in, values_in
from invoker.config.sections import Section, SettingsSection

Key: TypeAlias = tuple[str, ...]
"""Where a setting is: `("pool", "memory")`."""


class Source(msgspec.Struct, frozen=True, eq=False):
    """What one source says: a `file`, a variable of the `environment`, the `command line` or a `loader`, by name."""

    kind: str
    name: str
    said: Mapping[Key, Any]

    def __str__(self) -> str:
        return f"{self.kind} {printable(self.name)}".rstrip()

    __repr__ = __str__  # what it says may be a password


class Explained(msgspec.Struct, frozen=True):
    """One setting: its value as people write it, `***` where it is secret, and where it comes from.

    The origin is `default`, `file invoker.toml`, `environment INVOKER_POOL__MEMORY`, `command line` or `loader vault`.
    """

    key: str
    value: str
    origin: str
    overrode: tuple["Explained", ...] = ()
    """What the sources below said, the lowest first."""


class Conversion:
    """Makes sections of a tree, and collects what is wrong with it."""

    def __init__(self, tree: Mapping[str, Any], history: Sequence[Source], sections: Sequence[SettingsSection]) -> None:
        self.faults: list[str] = []
        self.made: dict[str, Any] = {}
        """The sections without faults, by name."""
        self._tree = tree
        self._sections = sections
        self._sources: dict[Key, list[Source]] = {}  # who says something at a key or below it, the last one counts
        for source in history:
            for key in {said[:depth] for said in source.said for depth in range(1, len(said) + 1)}:
                self._sources.setdefault(key, []).append(source)
        for section in sections:
            roles = {name: tree[name] for name in tree if name in types_in(section.into)}
            key, table = ((section.name,), tree.get(section.name)) if section.name else ((), roles)
            made = self._value(key, section.into, {} if table is None else table)
            self.made.update({section.name: made} if made is not None else {})

    def look_across(self) -> None:
        """Note what is at the top level and nobody's, and what one section can't know of another."""
        for name, value in self._tree.items():
            if name not in top_level(self._sections):
                what = "such section, in the core or in a plugin" if isinstance(value, dict) else "such setting"
                self._stranger((name,), what)
        for section in self._sections:
            if section.check is not None and section.name in self.made:
                for names, reason in section.check(self.made):
                    self.blame(reason, *(tuple(name.split(".")) for name in names))

    def explained(self) -> Iterator[Explained]:
        """Explain every field of the sections, in their order; the entries of free tables one by one."""
        for name, made in self.made.items():
            yield from self._explained((name,) if name else (), type(made), made)

    def _explained(self, key: Key, kind: Any, value: Any) -> Iterator[Explained]:
        if isinstance(value, msgspec.Struct):
            for field in fields(type(value)):
                yield from self._explained((*key, field.encode_name), field.type, getattr(value, field.name))
        elif isinstance(value, dict) and value:
            for name, each in value.items():
                yield from self._explained((*key, str(name)), values_in(kind), each)
        else:
            name, secret = dotted(*key), holds_secret(kind)
            said = [(human(source.said.get(key, "a table")), str(source)) for source in self._sources.get(key, [])]
            below = [Explained(name, "***" if secret else each, origin) for each, origin in said[:-1]]
            yield Explained(name, human(value), said[-1][1] if said else "default", tuple(below))

    def blame(self, reason: str, *keys: Key, everywhere: bool = False) -> None:
        """Note a fault of the first of these settings, which the others share, with where they are made."""
        places: dict[str, None] = {}
        for key in filter(None, keys):
            found = [printable(source.name) or f"the {source.kind}" for source in self._sources.get(key, [])]
            places.update(dict.fromkeys(found if everywhere else found[-1:]))
        whence = f" (from {' and '.join(places)})" if places else ""
        self.faults.append(f"{dotted(*keys[0]) or 'settings'}: {reason}{whence}")

    def _stranger(self, key: Key, what: str = "such setting") -> None:
        """Note a key that nothing asks for, with the one that was probably meant; its value is never repeated."""
        known = [*_keys(top_level(self._sections))]
        spelled = {each[-1]: each for each in known if len(key) == 1} | {"_".join(each).lower(): each for each in known}
        advice = ""
        for close in difflib.get_close_matches("_".join(key).lower(), spelled, n=1, cutoff=0.7):
            in_environment = self._sources[key][-1].kind == "environment"
            advice = f"; did you mean {variable(spelled[close]) if in_environment else dotted(*spelled[close])}?"
        self.blame(f"there is no {what}{advice}", key, everywhere=True)

    def _value(self, key: Key, kind: Any, value: Any) -> Any:
        """Return a value as its type has it, or `None` where it has a fault."""
        before = len(self.faults)
        if isinstance(value, dict) and is_a(kind, msgspec.Struct):
            return self._struct(key, bare(kind), value)
        if isinstance(value, dict) and (inner := values_in(kind)) is not None:
            value = {name: self._value((*key, name), inner, each) for name, each in value.items()}
        text = key in self._sources and self._sources[key][-1].kind != "file"
        try:
            return convert(kind, value, text=text) if len(self.faults) == before else None
        except ValueError as error:
            if len(key) > 1 or not is_a(kind, Section):
                return self.blame(str(error), key)
            first = dotted(*key, next(iter(types_in(kind))))
            return self.blame(f"expected a table; its settings are named one by one, as {first} is", key)

    def _struct(self, key: Key, into: type[msgspec.Struct], table: Mapping[str, Any]) -> Any:
        before = len(self.faults)
        values: dict[str, Any] = {}
        for field in fields(into):
            name = (*key, field.encode_name)
            if table.get(field.encode_name) is not None:  # `null` of YAML is the default
                values[field.name] = self._value(name, field.type, table[field.encode_name])
            elif field.required:
                where = "the secrets file" if holds_secret(field.type) else "a settings file"
                self.blame(f"must be given, in {where} or as {variable(name)}", name)
        for unknown in [name for name in table if name not in types_in(into)]:
            self._stranger((*key, unknown))
        try:
            return into(**values) if len(self.faults) == before else None
        except (ValueError, TypeError) as error:  # what msgspec takes for a complaint of __post_init__
            return self.blame(str(error), key, everywhere=True)


def top_level(sections: Iterable[SettingsSection]) -> dict[str, Any]:
    """Return the types of all that is at the top level: the roles' fields, and the sections."""
    found: dict[str, Any] = {}
    for section in sections:
        found.update({section.name: section.into} if section.name else types_in(section.into))
    return found


def variable(key: Key) -> str:
    """Return the name of a setting's variable."""
    return "INVOKER_" + "__".join(key).upper().replace("-", "_")


def printable(text: str) -> str:
    """Return a name for a message: as it is where it can be printed, escaped where not."""
    return text if text.isprintable() else repr(text)[1:-1]


def _keys(types: Mapping[str, Any], *key: str) -> Iterator[Key]:
    for name, kind in types.items():
        yield (*key, name)
        yield from _keys(types_in(kind), *key, name)
