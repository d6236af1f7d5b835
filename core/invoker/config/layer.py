"""One source of settings: where it is, and what it says. Values are wrapped, so that nothing looks into them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from invoker.config.spelling import printable

Key: TypeAlias = tuple[str, ...]
"""Where a setting is: `("pool", "memory")`; `()` is the top level."""
Tree: TypeAlias = dict[str, Any]
"""Tables by name down to the `Given` values."""

DEEPEST: Final = 16
"""Levels of tables and lists; settings have three or four. Bounds every recursion over what users write."""
_BITS: Final = 64


class Excessive(ValueError):
    """More than any setting needs, and more than the code that reads settings is made for."""


class Given(msgspec.Struct, frozen=True, eq=False):
    """A value as its source has it: never looked into, compared or shown before its type is known."""

    value: Any
    text: bool = False
    """From the environment or the command line: what it stands for depends on the setting's type."""

    def __repr__(self) -> str:
        return "Given(…)"  # it may be a password


class Origin(msgspec.Struct, frozen=True):
    """Where a setting was made."""

    kind: Literal["file", "environment", "command line"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {printable(self.name)}" if self.name else self.kind

    @property
    def place(self) -> str:
        """Return how a sentence calls it."""
        return printable(self.name) if self.name else f"the {self.kind}"


class Layer(msgspec.Struct, frozen=True):
    """What one source says."""

    origin: Origin
    tree: Tree

    def has(self, key: Key) -> bool:
        """Return whether the source says something at `key`, or below it."""
        node: Any = self.tree
        for name in key:
            if not isinstance(node, dict) or name not in node:
                return False
            node = node[name]
        return True


def check(value: Any, room: int = DEEPEST) -> None:
    """Make sure that what TOML said can be worked on without surprises.

    Raises:
        Excessive: tables or lists are inside one another without end, or a number is beyond the 64 bits of TOML;
            Python has such numbers and refuses to print them.
    """
    if room == 0:
        raise Excessive(f"nested more than {DEEPEST} levels deep")
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise Excessive(f"a number is beyond {_BITS} bits")
    children: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        check(child, room - 1)


def wrapped(table: Mapping[str, Any]) -> Tree:
    """Return the tree of what a TOML table says; it was checked."""
    return {key: wrapped(value) if isinstance(value, dict) else Given(value) for key, value in table.items()}


def unwrapped(node: Tree | Given) -> Any:
    """Return a tree as plain dictionaries and values."""
    return node.value if isinstance(node, Given) else {key: unwrapped(child) for key, child in node.items()}


def texts_in(node: Tree | Given) -> bool:
    """Return whether a value in a tree came as text."""
    return node.text if isinstance(node, Given) else any(texts_in(child) for child in node.values())
