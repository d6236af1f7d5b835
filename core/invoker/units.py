"""Sizes and durations as people write them: "256 MB", "3 s". Bytes and seconds everywhere else."""

import re
from typing import Self

_SIZE = re.compile(r"\s*(\d+)\s*(B|K|KB|KIB|M|MB|MIB|G|GB|GIB)?\s*", re.IGNORECASE)
_SCALE = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?\s*", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class ByteSize(int):
    """A number of bytes, written as `268435456`, `"256 MB"` or `"256 MiB"`.

    K, M and G are powers of 1024 with or without the "i", as OpenWhisk reads them (spec 2.6.3).
    """

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """Read a size.

        Raises:
            ValueError: not a size; says what would be one.
        """
        if isinstance(text, bool) or not isinstance(text, str | int):
            raise ValueError(f"expected a size such as '256 MB', got {text!r}")  # noqa: TRY004 (msgspec reports it)
        match = _SIZE.fullmatch(str(text))
        if match is None:
            raise ValueError(f"expected a size such as '256 MB', got {text!r}")
        return cls(int(match[1]) * _SCALE[(match[2] or "")[:1].upper()])

    def __str__(self) -> str:
        """Return the shortest exact spelling: `256 MB`."""
        for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
            if self and self % scale == 0:
                return f"{int(self) // scale} {unit}"
        return f"{int(self)} B"


class Seconds(float):
    """A number of seconds, written as `0.5`, `"500 ms"`, `"3 s"`, `"10 min"`, `"2 h"` or `"7 d"`."""

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """Read a duration.

        Raises:
            ValueError: not a duration; says what would be one.
        """
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError(f"expected a duration such as '3 s', got {text!r}")  # noqa: TRY004 (msgspec reports it)
        match = _DURATION.fullmatch(str(text))
        if match is None:
            raise ValueError(f"expected a duration such as '3 s' or '500 ms', got {text!r}")
        return cls(float(match[1]) * _SECONDS[(match[2] or "").lower()])

    def __str__(self) -> str:
        """Return the spelling a person would choose: `500 ms`, `3 s`, `10 min`."""
        if self < 1:
            return f"{self * 1000:g} ms"
        for unit, scale in (("d", 86400), ("h", 3600), ("min", 60)):
            if self % scale == 0:
                return f"{float(self) / scale:g} {unit}"
        return f"{float(self):g} s"
