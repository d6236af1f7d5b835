"""Names of images: how the engine is told them, and which patterns they fit."""

import functools
import re
from typing import Final, Self

import msgspec

from invoker.wire import names

LATEST: Final = "latest"

_HUB: Final = re.compile(r"(?:index\.)?docker\.io/")
_REGISTRY: Final = re.compile(r"[^/]*[.:][^/]*/|localhost/")  # what the first part must look like to be one
_TOKEN: Final = re.compile(r"\*\*|\*|\?|.", re.DOTALL)
_WILD: Final = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


class ImageReference(msgspec.Struct, frozen=True):
    """An image's name and its tag."""

    name: str
    """As it was written: with a registry, or without one for Docker's own."""
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name that may have a tag; a digest is dropped (spec 6.4.1).

        Raises:
            ValueError: it is no name of an image.
        """
        text = names.image_name(text, "the image")
        name, colon, tag = text.rpartition(":")
        return cls(name, tag) if colon and "/" not in tag else cls(text, LATEST)

    @property
    def tagged(self) -> str:
        """Name and tag, which can't be taken for the id of an image that somebody else brought."""
        return f"{self.name}:{self.tag}"

    def fits(self, pattern: str) -> bool:
        """Return whether a pattern is for this image; one without a tag is for every tag.

        `*` and `?` stand for anything within a part of the name, `**` for slashes as well: with `*` alone for all,
        "*.example.org/**" would let in "example.com/x.example.org/y". Docker's own images fit with their registry and
        without it.
        """
        wanted = _compiled(pattern)
        return any(wanted.fullmatch(text) for name in self._spellings() for text in (name, f"{name}:{self.tag}"))

    def _spellings(self) -> tuple[str, ...]:
        hub = _HUB.match(self.name)
        if hub is None and _REGISTRY.match(self.name):
            return (self.name,)
        path = self.name[hub.end() if hub else 0 :]
        if "/" not in path:
            return (path, f"library/{path}", f"docker.io/library/{path}")
        return (path, f"docker.io/{path}", path.removeprefix("library/"))


@functools.cache  # as many as an operator has written
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(_WILD.get(token, re.escape(token)) for token in _TOKEN.findall(pattern)))
