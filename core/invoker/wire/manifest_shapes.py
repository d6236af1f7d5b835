"""What the objects of a runtimes manifest look like (spec 6.11), and how what is wrong with one is said."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from invoker.config.kinds import expected
from invoker.wire import raw

Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class Manifest(msgspec.Struct):
    """The whole. Objects inside are looked at for themselves, so that they may be `Any` here and below."""

    runtimes: Any
    blackboxes: list[Any] | None = None
    description: Any = None
    """Upstream's own manifest has one, for people."""


class Image(msgspec.Struct):
    """The name of an image, in parts."""

    name: Text
    registry: str | None = None
    prefix: str | None = None
    tag: str | None = None

    def __str__(self) -> str:
        """As a container engine names it: `[registry/][prefix/]name[:tag]` (spec 6.11.2)."""
        places = [part.strip("/") for part in (self.registry, self.prefix) if part]
        return "/".join([*places, self.name]) + (f":{self.tag}" if self.tag else "")


class Attached(msgspec.Struct, rename="camel"):
    """Where upstream keeps code of this kind; nobody here asks."""

    attachment_name: str
    attachment_type: str


class Version(msgspec.Struct, rename="camel"):
    """One kind."""

    kind: Text
    image: Any
    default: bool | None = None
    deprecated: bool | None = None
    require_main: bool | None = None
    sentinelled_logs: bool | None = None
    stem_cells: list[Any] | None = None
    attached: Any = None


class Cell(msgspec.Struct, rename="camel"):
    """Stem cells of one kind and memory (spec 6.11.3)."""

    memory: str
    initial_count: Positive | None = None
    count: Positive | None = None
    reactive: Any = None


class Reaction(msgspec.Struct, rename="camel"):
    """How their number follows the demand (spec 6.11.3)."""

    min_count: Whole
    max_count: Positive
    ttl: str
    threshold: Positive
    increment: Positive


DURATION: Final = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([a-zµ]+)\s*", re.ASCII)
_UNITS: Final = {
    "d day days": 86_400.0,
    "h hr hrs hour hours": 3_600.0,
    "m min mins minute minutes": 60.0,
    "s sec secs second seconds": 1.0,
    "ms milli millis millisecond milliseconds": 1e-3,
    "µs micro micros microsecond microseconds": 1e-6,
    "ns nano nanos nanosecond nanoseconds": 1e-9,
}
SECONDS: Final = {word: seconds for words, seconds in _UNITS.items() for word in words.split()}
"""The words of Scala's durations, such as "2 minutes"."""

EXAMPLE: Final = '{"runtimes": {"python": [{"kind": "python:3", "image": {"name": "an-image"}}]}}'
_LONGEST: Final = 60
"""Characters of a value that a fault repeats: a manifest holds no secrets."""
_LIKE: Final = 0.6
"""How much of two keys must agree before one is taken for a slip of the other."""


def no_json(text: bytes, error: Exception) -> str:
    """Return what is wrong with the JSON, and in which line: the standard library knows."""
    if not text.strip():
        return f"is empty; it must be like {EXAMPLE}"
    try:
        json.loads(text.decode())
    except json.JSONDecodeError as fault:
        return f"line {fault.lineno}, column {fault.colno}: is no JSON: {fault.msg}"
    except (UnicodeDecodeError, RecursionError) as fault:
        return f"is no JSON: {raw.reason(fault)}"
    except ValueError:  # a number of more than 4300 digits
        return f"is no JSON: {raw.reason(error)}"
    if raw.has_surrogates(text):
        return "is no JSON that can be read: half of a surrogate pair is escaped, such as \\ud800"
    return f"is no JSON: {raw.reason(error)}"


def wanted(kind: Any) -> str:
    """Return what the settings call a type's values, in the words of JSON."""
    text = expected(kind).replace("each item any value", "each item an object")
    return "an object" if text == "any value" else text  # see `Manifest`


def shown(value: object) -> str:
    """Return a value as it stands in the file, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python writes
        return "what is too large to be shown"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def strangers(given: Iterable[str], into: type[msgspec.Struct], place: str) -> Iterator[str]:
    """Yield a line for each key of an object that nothing asks for, with the one that was probably meant."""
    known = {field.encode_name.lower(): field.encode_name for field in msgspec.structs.fields(into)}
    for key in given:
        if key in known.values():
            continue
        close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=_LIKE)
        advice = f"did you mean {known[close[0]]}?" if close else f"there are {', '.join(known.values())}"
        where = f" in {place}" if place else ""
        yield f"{shown(key)}{where} is no key of a manifest and has no effect; {advice}"
