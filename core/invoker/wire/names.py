"""Names, paths, versions and images of actions: which are well formed, and how each is written (spec 1.4, 6.4).

`place` is where the text stands, for the error.
"""

import re
from typing import Final

DEFAULT_VERSION: Final = "0.0.1"

_SEGMENT: Final = r"\w(?:[\w@ .&-]{0,254}[\w@.&-])?"
_NAME: Final = re.compile(_SEGMENT, re.ASCII)
_PATH: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)

_VERSION: Final = re.compile(r"(?!0\.0\.0$)(?:(?:0|[1-9]\d{0,8})\.){2}(?:0|[1-9]\d{0,8})", re.ASCII)
_PART: Final = re.compile(r"\d{1,10}", re.ASCII)
_LARGEST: Final = (1 << 31) - 1
_PARTS: Final = 3

_HOST: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_COMPONENT: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    rf"((?:(?:{_HOST}(?:\.{_HOST})+(?::\d+)?|{_HOST}:\d+|localhost)/)?"  # a registry has a dot or a port
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::\w[\w.-]{0,127})?)"
    r"(?:@[a-zA-Z][a-zA-Z0-9]*(?:[-_+.][a-zA-Z][a-zA-Z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
_LONGEST_IMAGE: Final = 512


class Misfit(ValueError):
    """A field is of the right type and of no use. The message says which, and doesn't repeat it."""


def entity_path(text: str, place: str) -> str:
    """Return a path without empty segments, so that a leading slash does no harm (spec 1.4.3).

    Raises:
        Misfit: no segment is left, or one is malformed.
    """
    if _PATH.fullmatch(text):
        return text
    path = "/".join(filter(None, text.split("/")))
    if _PATH.fullmatch(path) is None:
        raise Misfit(f"{place} is no path of well-formed names")
    return path


def entity_name(text: str, place: str) -> str:
    """Return a name as it is.

    Raises:
        Misfit: it is malformed (spec 1.4.3).
    """
    if _NAME.fullmatch(text) is None:
        raise Misfit(f"{place} is no well-formed name")
    return text


def qualified_name(text: str, place: str) -> tuple[str, str]:
    """Return path and name of `namespace[/package]/name` (spec 1.4.2).

    Raises:
        Misfit: it has fewer than two segments, or one is malformed.
    """
    path, _, name = entity_path(text, place).rpartition("/")
    if not path:
        raise Misfit(f"{place} needs a namespace and a name")
    return path, name


def version(text: str, place: str) -> str:
    """Return `major.minor.patch`; parts that are missing are 0 (spec 1.4.7).

    Raises:
        Misfit: it is none, or is 0.0.0.
    """
    if _VERSION.fullmatch(text):
        return text
    given = text.split(".")[:_PARTS]
    if not all(_PART.fullmatch(part) for part in given):
        raise Misfit(f"{place} is no version such as 0.0.1")
    numbers = [int(part) for part in given]
    if not any(numbers) or max(numbers) > _LARGEST:
        raise Misfit(f"{place} is no version such as 0.0.1")
    return ".".join(str(number) for number in [*numbers, 0, 0][:_PARTS])


def image_name(text: str, place: str) -> str:
    """Return the name of a container image, without a digest (spec 6.4.1).

    Raises:
        Misfit: it is malformed.
    """
    match = _IMAGE.fullmatch(text) if len(text) <= _LONGEST_IMAGE else None
    if match is None:
        raise Misfit(f"{place} is no name of an image")
    return match[1]
