"""Settings given as text: environment variables and the command line's `section.field=value`.

A text is kept as it is until the type of its field is known: a password of digits stays one. Where the type is a
list or a table, the text is TOML.
"""

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from invoker.config.files import DEFAULT_FILE
from invoker.config.kinds import section_in, values_in
from invoker.config.layer import DEEPEST, Given, Key, Layer, Origin, Tree, check, wrapped

PREFIX: Final = "INVOKER_"
FILES_VARIABLE: Final = "INVOKER_CONFIG"
SECRETS_VARIABLE: Final = "INVOKER_SECRETS"

LOGS: Final = "logs"
"""The section whose name stands for one of its fields: `logs = "attached"` is `logs.plugin = "attached"`."""
LOGS_FIELD: Final = "plugin"

_NESTING: Final = "__"
_IGNORED_PREFIXES: Final = ("INVOKER_SERVICE_", "INVOKER_PORT_")
_IGNORED: Final = {"INVOKER_PORT", FILES_VARIABLE, SECRETS_VARIABLE}
_OF_A_SERVICE: Final = re.compile(
    r"INVOKER_[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes sets for a Service called `invoker-…`; one called `invoker` is covered by the prefixes."""

Kinds: TypeAlias = Mapping[str, Any]
"""The types of everything at the top level: the roles' fields, and the sections."""


class Text(msgspec.Struct, frozen=True):
    """A setting that was given as text."""

    origin: Origin
    key: Key
    text: str
    folded: bool = False
    """From a variable: the names of sections and fields are in capitals there, those in free tables are kept."""

    def __repr__(self) -> str:
        return f"Text({self.origin}, …)"  # it may be a password


def default_files(environ: Mapping[str, str], cwd: Path) -> list[Path]:
    """Return the settings files to read when the command line names none.

    INVOKER_CONFIG lists them, separated like PATH. Without it `invoker.toml` of the working directory is read, where
    there is one.
    """
    named = environ.get(FILES_VARIABLE)
    if named:
        return [cwd / name for name in named.split(os.pathsep) if name]
    here = cwd / DEFAULT_FILE
    return [here] if here.is_file() else []


def from_environment(environ: Mapping[str, str]) -> tuple[list[Text], list[str]]:
    """Return the settings in `INVOKER_SECTION__FIELD` variables, and the faults.

    The variables that Kubernetes injects for a Service called `invoker` are no settings, nor are INVOKER_CONFIG and
    INVOKER_SECRETS, which name files. Tables come before what is in them.
    """
    texts: list[Text] = []
    faults: list[str] = []
    for name in sorted(environ, key=lambda name: (name.count(_NESTING), name)):
        if not name.startswith(PREFIX) or _ignored(name):
            continue
        key = tuple(name.removeprefix(PREFIX).split(_NESTING))
        text = Text(Origin("environment", name), key, environ[name], folded=True)
        if len(text.key) > DEEPEST:
            faults.append(f"{text.origin.place}: nested more than {DEEPEST} levels deep; no setting is")
        else:
            texts.append(text)
    return texts, faults


def variable(key: Key) -> str:
    """Return the name of a setting's variable."""
    return PREFIX + _NESTING.join(key).upper().replace("-", "_")


def _ignored(name: str) -> bool:
    if name in _IGNORED or name.startswith(_IGNORED_PREFIXES):
        return True
    return _NESTING not in name and _OF_A_SERVICE.fullmatch(name) is not None


def from_command_line(overrides: Sequence[str]) -> tuple[list[Text], list[str]]:
    """Return the settings in `section.field=value` arguments in their order, and the faults.

    The key is TOML's, so that `encryption.keys."my key"` can be said. The value is all that follows the first `=`.
    """
    texts: list[Text] = []
    faults: list[str] = []
    for number, override in enumerate(overrides, start=1):
        written, equals, text = override.partition("=")
        key = _key(written)
        if not equals or key is None:  # what was written isn't repeated: it may be a password
            faults.append(f"the command line: setting number {number} is not of the form section.field=value")
        else:
            texts.append(Text(Origin("command line"), key, text))
    return texts, faults


def _key(written: str) -> Key | None:
    table = None if "\n" in written else _toml(f"{written} = 0")
    key: list[str] = []
    node: Any = table
    while isinstance(node, dict) and len(node) == 1 and len(key) < DEEPEST:
        (name, node), *_ = node.items()
        key.append(name)
    return tuple(key) if node == 0 else None


def value_of(text: str) -> Any | None:
    """Return the TOML value that a text is, or `None` where it isn't one."""
    table = _toml(f"value = {text}")
    return table["value"] if table is not None and set(table) == {"value"} else None


def _toml(document: str) -> dict[str, Any] | None:
    try:
        table = tomllib.loads(document)
        check(table)
    except (ValueError, RecursionError):  # TOMLDecodeError and Excessive are ValueErrors
        return None
    return table


def placed(text: Text, kinds: Kinds) -> Layer:
    """Return a text as the layer it is, now that it is known what type each setting has."""
    return Layer(text.origin, _branch(text, kinds))


def _branch(text: Text, kinds: Kinds) -> Tree:
    name = _name(text, text.key[0], kinds)
    kind = kinds.get(name)
    node = _node(text, text.key[1:], kind)
    if name == LOGS and isinstance(node, Given):
        node = {LOGS_FIELD: node}
    return {name: node}


def _node(text: Text, rest: Key, kind: Any) -> Tree | Given:
    fields = _fields(kind)
    values = values_in(kind)
    if not rest:
        return _leaf(text.text, is_table=fields is not None or values is not None)
    if values is not None:
        return {rest[0]: _node(text, rest[1:], values)}
    name = _name(text, rest[0], fields or {})
    return {name: _node(text, rest[1:], (fields or {}).get(name))}


def _name(text: Text, written: str, known: Collection[str]) -> str:
    """Return the name that a part of a key stands for; a variable can have neither small letters nor hyphens."""
    if not text.folded:
        return written
    name = written.lower()
    return next((each for each in known if each.replace("-", "_") == name), name)


def _leaf(text: str, *, is_table: bool) -> Tree | Given:
    value = value_of(text) if is_table and text.lstrip().startswith("{") else None
    return wrapped(value) if isinstance(value, dict) else Given(text, text=True)


def _fields(kind: Any) -> dict[str, Any] | None:
    section = section_in(kind)
    if section is None:
        return None
    return {field.encode_name: field.type for field in msgspec.structs.fields(section)}


def shortened(layer: Layer) -> Layer:
    """Return a file's layer with `logs = "attached"` written out."""
    node = layer.tree.get(LOGS)
    if not isinstance(node, Given):
        return layer
    return Layer(layer.origin, {**layer.tree, LOGS: {LOGS_FIELD: node}})


def tables(text: Text) -> Iterator[str]:
    """Yield the name of the table a text speaks of, if it is one; for a variable also the one with hyphens."""
    if len(text.key) == 1 and not text.text.lstrip().startswith("{"):
        return
    if not text.folded:
        yield text.key[0]
    else:
        yield from (text.key[0].lower(), text.key[0].lower().replace("_", "-"))
