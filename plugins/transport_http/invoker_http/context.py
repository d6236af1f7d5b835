"""What callers say about a message in headers: `Functions-Activation-Id` and its like (spec 12.5), for the log only."""

from collections.abc import Iterable, Mapping
from typing import Final

from invoker.contracts import NO_CONTEXT

PREFIX: Final = b"functions-"
LONGEST: Final = 256
"""Characters of a value that are kept."""


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Return the headers that say something about a message, spelt as in `Functions-Function`."""
    found = {
        name.decode("latin-1").title(): _clean(value)
        for name, value in headers
        if name[: len(PREFIX)].lower() == PREFIX
    }
    return found or NO_CONTEXT


def _clean(value: bytes) -> str:
    """Return text that can't disturb a terminal or a log: it came from a stranger."""
    text = value[: 4 * LONGEST].decode("utf-8", "replace")  # a character has at most four bytes
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    return text[:LONGEST]
