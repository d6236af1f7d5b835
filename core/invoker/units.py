"""Sizes and durations as people write them: "256 MB", "3 s". Bytes and seconds everywhere else."""

import math
import re
from typing import Final, Self

# ASCII only: with Unicode rules the Kelvin sign is a K and the long s an s, and neither has a scale.
_SIZE: Final = re.compile(r"\s*(\d{1,19})\s*(B|K|KB|KIB|M|MB|MIB|G|GB|GIB)?\s*", re.IGNORECASE | re.ASCII)
_SCALE: Final = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LARGEST: Final = (1 << 63) - 1  # what controllers and stores can hold

_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(ms|s|m|min|h|d)?\s*", re.IGNORECASE | re.ASCII)
_SECONDS: Final = {"s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PER_SECOND: Final = 1000.0  # milliseconds are divided: 9 * 0.001 is 0.009000000000000001
_EXACT: Final = 1e15  # whole numbers below it are exact as floats

_BITS: Final = 64
_SHOWN: Final = 60  # characters of a wrong value that a message repeats


class ByteSize(int):
    """A number of bytes, written as `268435456`, `"256 MB"` or `"256 MiB"`; never negative.

    K, M and G are powers of 1024 with or without the "i", as OpenWhisk reads them (spec 2.6.3).
    """

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """Read a size.

        Raises:
            ValueError: not a size; says what would be one.
        """
        match = None if isinstance(text, bool) else _SIZE.fullmatch(_digits(text))
        if match is None:
            raise ValueError(f"expected a size such as '256 MB', got {_shown(text)}")
        size = int(match[1]) * _SCALE[(match[2] or "")[:1].upper()]
        if size > _LARGEST:
            raise ValueError(f"expected a size of at most {_LARGEST} bytes, got {_shown(text)}")
        return cls(size)

    def __str__(self) -> str:
        """Return the shortest exact spelling: `256 MB`."""
        for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
            if self and self % scale == 0:
                return f"{int(self) // scale} {unit}"
        return f"{int(self)} B"


class Seconds(float):
    """A number of seconds, written as `0.5`, `"500 ms"`, `"3 s"`, `"10 min"`, `"2 h"` or `"7 d"`.

    Finite and not negative. A setting of this type must be above 0; one that may be 0 is a `SecondsOrZero`.
    """

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """Read a duration.

        Raises:
            ValueError: not a duration; says what would be one.
        """
        match = None if isinstance(text, bool) else _DURATION.fullmatch(_digits(text))
        if match is None:
            raise ValueError(f"expected a duration such as '3 s' or '500 ms', got {_shown(text)}")
        unit = (match[2] or "").lower()
        seconds = float(match[1]) / _PER_SECOND if unit == "ms" else float(match[1]) * _SECONDS[unit]
        if not math.isfinite(seconds):
            raise ValueError(f"expected a duration that ends, such as '7 d', got {_shown(text)}")
        return cls(seconds)

    def __str__(self) -> str:
        """Return an exact spelling that a person would choose: `500 ms`, `3 s`, `10 min`."""
        for spelling in self._spellings():
            if float(self.parse(spelling)) == float(self):
                return spelling
        return f"{float(self)!r} s"

    def _spellings(self) -> list[str]:
        """Return candidates, the best first: the largest unit of which it is a whole number, or milliseconds."""
        if 0 < self < 1:
            return [f"{_number(float(self) * _PER_SECOND)} ms"]
        units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
        whole = [(unit, scale) for unit, scale in units if self % scale == 0 and 0 < self < _EXACT]
        return [f"{_number(float(self) / scale)} {unit}" for unit, scale in whole or units[-1:]]


class SecondsOrZero(Seconds):
    """A duration that may be 0, where 0 means something, such as not waiting at all."""


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and value < _EXACT else repr(value)


def _digits(value: object) -> str:
    """Return what the patterns read; a value that is neither text nor a number matches none of them."""
    return str(value) if isinstance(value, str | int | float) and not _huge(value) else ""


def _shown(value: object) -> str:
    text = "a number beyond 64 bits" if _huge(value) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _huge(value: object) -> bool:
    """Return whether Python would refuse to write the number down: it does so from 4300 digits."""
    return isinstance(value, int) and value.bit_length() > _BITS
