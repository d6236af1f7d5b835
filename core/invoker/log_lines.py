"""The log lines of one activation at a time: formatted, counted, cut at the limit. No I/O."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

BOOT_LIMIT: Final = 10 << 20
"""Bytes kept before the first activation says what it may log: the system's default maximum (spec 6.6)."""

_NANOSECONDS = 1_000_000_000
_PREFIX = len(f"{'':30} stdout: ")


class LogLines:
    """Lines as they are recorded: `<RFC3339 time, 30 columns> <stream>: <text>` (spec 8.7.1, 9.11.19).

    `truncated` makes the text that stands for all that came after a limit. `clock` counts nanoseconds since 1970.
    """

    __slots__ = ("_begun", "_clock", "_date", "_limit", "_lines", "_second", "_size", "_truncated", "full")

    def __init__(self, truncated: Callable[[int], str], clock: Callable[[], int] = time.time_ns) -> None:
        self._truncated = truncated
        self._clock = clock
        self._second = -1
        self._date = ""  # of _second, since formatting it costs more than all the rest
        self._begun = False
        self._limit = BOOT_LIMIT
        self._lines: list[str] = []
        self._size = 0  # UTF-8 bytes of _lines, without newlines (spec 9.11.17)
        self.full = False
        """Nothing more is kept."""

    def begin(self, limit: int) -> None:
        """Begin with no lines, but for those before the first activation, which are its own (spec T60)."""
        self._limit = limit
        if not self._begun:
            self._begun = True
            self._adopt()
        elif self._size or self.full:
            self._lines = []
            self._size = 0
            self.full = False

    def mute(self) -> None:
        """Keep no line at all, not even one that says so (spec 9.11.11)."""
        self._lines = []
        self._size = 0
        self.full = True

    def give_up(self) -> int:
        """Keep no line of this activation, for it can't be told from another; return the bytes that were kept.

        Counted is what was printed: line ends as one byte, and without what is put before each line.
        """
        count = len(self._lines) - self.full if self._lines else 0  # the last one of full lines is ours
        lost = self._size - count * (_PREFIX - 1)
        self.mute()
        return lost

    def add(self, stream: str, texts: Iterable[str]) -> None:
        """Keep lines that were read now. The first one beyond the limit is replaced by one that says so."""
        now = self._now()
        prefix = f"{now} {stream}: "
        lines = [prefix + text for text in texts]
        size = sum([_size(line) for line in lines])  # a list: half the time of a generator
        if self._size + size <= self._limit and not self.full:
            self._lines += lines
            self._size += size
        else:
            self._fill(lines, now)

    def note(self, text: str) -> None:
        """Add a line of our own, whatever the limit."""
        self._lines.append(f"{self._now()} stderr: {text}")

    def taken(self) -> tuple[str, ...]:
        """Return the lines, and keep them no longer."""
        lines = tuple(self._lines)
        self._lines = []
        return lines

    def _adopt(self) -> None:
        """Count the lines that are there already against the limit."""
        lines, overflowed = self._lines, self.full
        self._lines = []
        self._size = 0
        self.full = False
        if lines:
            now = self._now()
            self._fill(lines, now)
            if overflowed and not self.full:
                self._end(now)

    def _fill(self, lines: Sequence[str], now: str) -> None:
        if self.full:
            return
        for line in lines:
            size = _size(line)
            if self._size + size > self._limit:
                self._end(now)
                return
            self._lines.append(line)
            self._size += size

    def _end(self, now: str) -> None:
        self.full = True
        if self._begun:  # before, nobody knows what limit to tell
            self._lines.append(f"{now} stderr: {self._truncated(self._limit)}")

    def _now(self) -> str:
        """Return the time, trailing zeros left out (spec 9.11.19), padded to 30 columns (spec T63)."""
        second, fraction = divmod(self._clock(), _NANOSECONDS)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        shown = f"{self._date}.{fraction:09}".rstrip("0") if fraction else self._date
        return f"{shown + 'Z':<30}"


def line_of_ours(text: str) -> str:
    """Return a line of our own, of now."""
    lines = LogLines(str)
    lines.note(text)
    return lines.taken()[0]


def _size(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode())
