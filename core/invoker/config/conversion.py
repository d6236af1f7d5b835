"""From what was written to what it means: trees of given values into sections, with every fault on the way."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from invoker.config.kinds import (
    expected,
    given,
    holds_lists,
    holds_secret,
    is_list,
    section_in,
    values_in,
)
from invoker.config.layer import Given, Key, Layer, Origin, Tree, texts_in, unwrapped
from invoker.config.secret import Secret
from invoker.config.spelling import dotted, shown
from invoker.config.texts import value_of, variable
from invoker.units import Seconds, SecondsOrZero

_LIKE: Final = 0.7  # how much of two names must agree before one is taken for a slip of the other

S = TypeVar("S", bound=msgspec.Struct)


class Misfit(ValueError):
    """A value that its field can't take; says what would be right."""


def convert(kind: Any, value: Any, *, text: bool = False) -> Any:
    """Return a plain value as the type has it.

    Numbers and booleans come out of a text only where the type asks for one. A `Seconds` is above 0, a
    `SecondsOrZero` and a `ByteSize` not below; a type of a plugin's own reads itself if it has a `parse` class method.

    Raises:
        Misfit: with what the type expects. It repeats the value, unless something in it may be secret.
    """
    try:
        return msgspec.convert(value, given(kind), strict=not text, dec_hook=_read)
    except msgspec.ValidationError as error:
        reason = error.__cause__
        if isinstance(reason, ValueError | TypeError) and not holds_secret(kind):
            raise Misfit(str(reason)) from None
        raise misfit(kind, value) from None
    except UnicodeEncodeError:  # msgspec on a word of a choice that is no UTF-8 in the environment
        raise misfit(kind, value) from None


def misfit(kind: Any, value: Any) -> Misfit:
    """Return the complaint about a value."""
    if holds_secret(kind):
        return Misfit(f"expected {expected(kind)}; what was given isn't shown")
    return Misfit(f"expected {expected(kind)}, got {shown(value)}")


def _read(kind: type, value: Any) -> Any:
    """Make a value of a type that TOML doesn't have; `msgspec` calls it.

    Raises:
        ValueError: with the whole complaint.
        TypeError: no value of the type can be made.
    """
    if isinstance(value, kind):
        return value
    if kind is Secret:
        if isinstance(value, str):
            return Secret(value)
        raise TypeError("expected a string in quotes")
    if issubclass(kind, Path):
        return _path(kind, value)
    parse = getattr(kind, "parse", None)
    if parse is None:
        raise TypeError(f"{kind.__name__} can't be read from settings: it has no class method parse")
    parsed = parse(value)
    if isinstance(parsed, Seconds) and not isinstance(parsed, SecondsOrZero) and parsed <= 0:
        raise ValueError(f"expected a duration longer than 0, such as '3 s', got {shown(value)}")
    return parsed


def _path(kind: type[Path], value: Any) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"expected a path, got {shown(value)}")
    try:
        return kind(value).expanduser()
    except RuntimeError:  # nobody of that name
        raise ValueError(f"expected a path, got {shown(value)}: there is no such user") from None


class Conversion:
    """Makes sections and collects what is wrong with them."""

    def __init__(self, layers: Sequence[Layer], known: Iterable[Key]) -> None:
        self._layers = layers
        self._known = tuple(known)
        self.faults: list[str] = []
        self.broken: set[Key] = set()
        """Fields with a fault; rules that speak of one are not asked as well."""
        self.values: dict[str, Any] = {}
        """What could be converted, sections as dictionaries and the top level's fields beside them."""

    def origins(self, key: Key) -> list[Origin]:
        """Return every place that says something about a setting; the last one counts."""
        return [layer.origin for layer in self._layers if layer.has(key)]

    def blame(self, key: Key, reason: str, *, all_places: bool = False) -> None:
        """Note a fault."""
        self.broken.add(key)
        whence = self._whence([key], all_places=all_places) if key else ""
        self.faults.append(f"{dotted(*key) or 'settings'}: {reason}{whence}")

    def blame_all(self, keys: Sequence[Key], reason: str) -> None:
        """Note a fault of the first of these settings, which the others share."""
        self.broken.add(keys[0])
        self.faults.append(f"{dotted(*keys[0])}: {reason}{self._whence(keys)}")

    def blame_rule(self, section: str, keys: Sequence[Key], reason: str) -> None:
        """Note what a section's rule says about settings."""
        self.faults.append(f"{reason}; {section or 'the core'} asks for it{self._whence(keys)}")

    def _whence(self, keys: Sequence[Key], *, all_places: bool = False) -> str:
        origins = [origin for key in keys for origin in self.origins(key)[0 if all_places else -1 :]]
        places = dict.fromkeys(origin.place for origin in origins)
        return f" (from {' and '.join(places)})" if places else ""

    def section(self, name: str, into: type[S], node: Tree | Given) -> S | None:
        """Return a section, or `None` when something in it is wrong."""
        key = (name,) if name else ()
        if isinstance(node, Given):
            self.blame(key, f"expected a table; its settings are named one by one, as {_first(key, into)} is")
            return None
        made, values = self._struct(key, into, node)
        self.values.update({name: values} if name else values)
        return made

    def unknown(self, key: Key, what: str = "such setting") -> None:
        """Note a key that nothing asks for, with the one that was probably meant; its value is never repeated."""
        meant = self._meant(key)
        advice = f"; did you mean {meant}?" if meant else ""
        self.blame(key, f"there is no {what}{advice}", all_places=True)

    def _struct(self, key: Key, into: type[S], tree: Tree) -> tuple[S | None, dict[str, Any]]:
        before = len(self.faults)
        fields = {field.encode_name: field for field in msgspec.structs.fields(into)}
        values: dict[str, Any] = {}
        for name, field in fields.items():
            try:
                if name in tree:
                    values[field.name] = self._value((*key, name), field.type, tree[name])
                elif field.required:
                    self._missing((*key, name), field.type)
            except Misfit as error:
                self.blame((*key, name), str(error))
        for name in tree:
            if name not in fields:
                self.unknown((*key, name))
        return self._built(key, into, values) if len(self.faults) == before else None, values

    def _built(self, key: Key, into: type[S], values: dict[str, Any]) -> S | None:
        try:
            made = into(**values)
        except (ValueError, TypeError) as error:  # what msgspec takes for a complaint of __post_init__
            self.blame(key, str(error), all_places=True)
            return None
        values.update({name: getattr(made, name) for name in into.__struct_fields__})
        return made

    def _value(self, key: Key, kind: Any, node: Tree | Given) -> Any:
        section, values = section_in(kind), values_in(kind)
        if isinstance(node, Given):
            if section is not None or values is not None:
                raise misfit(kind, node.value)
            return _leaf(kind, node)
        if section is not None:
            return self._struct(key, section, node)[0]
        if values is not None:
            return self._map(key, kind, values, node)
        return convert(kind, unwrapped(node), text=texts_in(node))

    def _map(self, key: Key, kind: Any, values: Any, tree: Tree) -> Any:
        before = len(self.faults)
        converted: dict[str, Any] = {}
        for name, node in tree.items():
            try:
                converted[name] = self._value((*key, name), values, node)
            except Misfit as error:
                self.blame((*key, name), str(error))
        return convert(kind, converted, text=True) if len(self.faults) == before else None

    def _missing(self, key: Key, kind: Any) -> None:
        where = "the secrets file" if holds_secret(kind) else "a settings file"
        self.blame(key, f"must be given, in {where} or as {variable(key)}")

    def _meant(self, key: Key) -> str | None:
        """Return the known setting that looks most like `key`, as the last place that has `key` spells it."""
        by_spelling = {"_".join(known).lower(): known for known in self._known}
        close = difflib.get_close_matches("_".join(key).lower(), by_spelling, n=1, cutoff=_LIKE)
        if not close and len(key) == 1:  # a section's field that stands at the top level
            by_spelling = {known[-1]: known for known in self._known}
            close = difflib.get_close_matches(key[0].lower(), by_spelling, n=1, cutoff=_LIKE)
        for known in (by_spelling[each] for each in close):
            return variable(known) if self.origins(key)[-1].kind == "environment" else dotted(*known)
        return None


def _leaf(kind: Any, node: Given) -> Any:
    if not node.text or not is_list(kind):
        return convert(kind, node.value, text=node.text)
    if node.value.lstrip().startswith("[") or holds_lists(kind):
        value = value_of(node.value)
        if not isinstance(value, list):
            raise Misfit(f'expected {expected(kind)}, written like ["one", "two"]')
        return convert(kind, value)
    return convert(kind, [item.strip() for item in node.value.split(",") if item.strip()], text=True)


def _first(key: Key, into: type[msgspec.Struct]) -> str:
    return dotted(*key, msgspec.structs.fields(into)[0].encode_name)


def catalogue(sections: Mapping[str, type[msgspec.Struct]]) -> list[Key]:
    """Return the keys of all sections and their fields, those of tables in them included."""
    return [key for name, into in sections.items() for key in _keys((name,) if name else (), into)]


def _keys(key: Key, into: type[msgspec.Struct]) -> Iterable[Key]:
    if key:
        yield key
    for field in msgspec.structs.fields(into):
        inner = section_in(field.type)
        if inner is None:
            yield (*key, field.encode_name)
        else:
            yield from _keys((*key, field.encode_name), inner)
