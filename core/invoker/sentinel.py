"""One stream of a container's output, cut into lines, up to the sentinel that ends an activation. No I/O.

An action proxy prints the marker on a line of its own, on each stream, when an activation is over (spec 9.11.1).
How chunks are split changes nothing: the same bytes give the same lines.
"""

import enum
import re
from collections.abc import Sequence
from typing import Final

MARKER: Final = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
SENTINEL_LINE: Final = MARKER + b"\n"
"""What a proxy prints on each stream after each activation."""

LONGEST_PIECE: Final = 64 << 10
"""Bytes of text in one line; what is longer comes in pieces (spec 9.11.14 does so at 256 KiB)."""

_SENTINEL = re.compile(MARKER + rb"\r?\n")  # a line that ends with the marker, whatever is before it (spec 9.11.15)
_SENTINEL_CRLF = MARKER + b"\r\n"
_TAIL: Final = len(MARKER + b"\r")
"""Bytes at the end of an unfinished line that may turn out to be the marker."""


class _Fate(enum.Enum):
    """What becomes of output."""

    KEPT = enum.auto()
    DRAINED = enum.auto()
    """It is the activation's, which may log no more."""
    DROPPED = enum.auto()
    """It came after the activation's end, or can't be attributed, and belongs to nobody."""


_KEPT, _DRAINED, _DROPPED = _Fate.KEPT, _Fate.DRAINED, _Fate.DROPPED  # a third of an enum's look-up


class StreamCutter:
    """Cuts one stream. It holds at most one unfinished piece, and of what is not kept only a possible marker.

    Where proxies print no sentinels (`sentinelled` False), lines that look like one are left out and end nothing:
    users' images are often made from ours (spec 6.4.3, 9.11.4).

    An activation whose sentinel has not come when another begins is over all the same: what comes up to that sentinel
    is dropped, and only what is behind it belongs to the other one.
    """

    __slots__ = ("_due", "_fate", "_pending", "_sentinelled", "dropped", "forged", "owed", "sentinels")

    def __init__(self, *, sentinelled: bool = True) -> None:
        self._sentinelled = sentinelled
        self._fate = _KEPT  # from the container's first byte on (spec T60)
        self._pending = bytearray()  # the unfinished line; of one that is not kept at most its last _TAIL bytes
        self._due = int(sentinelled)  # sentinels that come from the activation, and from those that joined it
        self.owed = 0
        """Sentinels of activations that are over, behind which the output of this one begins."""
        self.sentinels = 0
        """Sentinels since the activation began, without those of earlier ones."""
        self.forged = False
        """There were more than activations (spec T59); never taken back."""
        self.dropped = 0
        """Bytes that belonged to nobody, of all time."""

    def take(self, chunk: bytes) -> Sequence[str]:
        """Take what came out; return the texts of the lines, or pieces of lines, that it finishes."""
        if chunk == SENTINEL_LINE and not self._pending and self._fate is not _DROPPED:  # nearly all there ever is
            self._found()
            return ()
        if self._fate is not _KEPT:
            return self._scan(chunk)
        newline = chunk.rfind(b"\n") + 1
        if not newline:
            self._pending += chunk
            return self._pieces() if len(self._pending) > LONGEST_PIECE + _TAIL else ()
        finished, rest = chunk[:newline], chunk[newline:]
        if self._pending:
            finished = bytes(self._pending) + finished
            self._pending.clear()
        texts = self._lines(finished)
        return [*texts, *self.take(rest)] if rest else texts

    def rest(self) -> Sequence[str]:
        """Return the text of the unfinished line, as far as it came; a marker without line end is no text of it."""
        if self._fate is not _KEPT or not self._pending:
            return ()
        text = bytes(self._pending).removesuffix(b"\r").removesuffix(MARKER)
        return _cut(text) if text else ()

    def finish(self) -> Sequence[str]:
        """Take the end of the stream, which ends its last line; return that line's text."""
        return self.take(b"\n") if self._pending and self._fate is not _DROPPED else ()

    def drain(self) -> None:
        """Keep nothing more: the activation has logged all it may. Its sentinel is still found."""
        if self._fate is _KEPT:
            self._fate = _DRAINED
            del self._pending[:-_TAIL]

    def stop(self) -> None:
        """Drop what comes from now on: the activation is over."""
        if self._fate is not _DROPPED:
            self._fate = _DROPPED
            self._pending.clear()
        if self.owed:
            self._fold()

    def join(self) -> None:
        """Begin another activation beside this one: nothing can be attributed from here to the next start."""
        if self._sentinelled:
            self._due += 1
            self._fold()
        self._drop()

    def restart(self) -> None:
        """Begin another activation, without what came since the last one ended."""
        if self._pending:
            self.dropped += len(self._pending)
            self._pending.clear()
        self._fate = _KEPT
        self.sentinels = 0

    def restart_behind(self) -> int:
        """Begin another activation, without what comes up to the last sentinel still due; return how many are."""
        self._fold()
        self.owed = max(0, self._due - self.sentinels)
        self._due = int(self._sentinelled)
        if not self.owed:
            self.restart()
        else:
            self._drop()
            self.sentinels = 0
        return self.owed

    def _fold(self) -> None:
        """Count the sentinels of activations that are over with those of the present one."""
        self._due += self.owed
        self.owed = 0

    def _drop(self) -> None:
        """Keep nothing more, but what may turn out to be a sentinel."""
        if self._fate is _KEPT:
            self.dropped += max(0, len(self._pending) - _TAIL)
            del self._pending[:-_TAIL]
        self._fate = _DROPPED

    def _found(self) -> None:
        self.sentinels += 1
        if self._sentinelled:
            self._fate = _DROPPED

    def _lines(self, finished: bytes) -> list[str]:
        """Cut whole lines; what follows a sentinel among them is no longer the activation's."""
        if MARKER not in finished:
            return _split(finished)
        texts: list[str] = []
        start = 0
        for sentinel in _SENTINEL.finditer(finished):
            before = finished[start : sentinel.start()]
            texts += _split(before if before.endswith(b"\n") or not before else before + b"\n")
            start = sentinel.end()
            self._found()
            if self._sentinelled:
                self._scan(finished[start:])
                return texts
        return texts + _split(finished[start:])

    def _pieces(self) -> list[str]:
        """Cut off what is certainly not the marker of an unfinished line that is too long to be held."""
        texts: list[str] = []
        start = 0
        while len(self._pending) - start > LONGEST_PIECE + _TAIL:
            end = _between_characters(self._pending, start + LONGEST_PIECE)
            texts.append(self._pending[start:end].decode(errors="replace"))
            start = end
        del self._pending[:start]
        return texts

    def _scan(self, chunk: bytes) -> Sequence[str]:
        """Look for sentinels in what is not kept; return the texts of lines behind the last one that was owed."""
        data = bytes(self._pending) + chunk if self._pending else chunk
        marked = 0
        if MARKER in data and (sentinel := _SENTINEL.search(data)):
            if self.owed:
                return self._pass_by(data)
            if self._fate is _DRAINED:
                self._found()
                data = data[sentinel.end() :]
            marked = data.count(SENTINEL_LINE) + data.count(_SENTINEL_CRLF)
            self.sentinels += marked
            self.forged |= self._sentinelled and self.sentinels > self._due
        end = data[-_TAIL:]
        self._pending = bytearray(end[end.rfind(b"\n") + 1 :])
        if self._fate is _DROPPED:
            self.dropped += len(data) - len(self._pending) - marked * len(SENTINEL_LINE)
        return ()

    def _pass_by(self, data: bytes) -> Sequence[str]:
        """Drop output up to the last sentinel that is owed, or all of it; go on with the rest."""
        end = 0
        for sentinel in _SENTINEL.finditer(data):
            self.dropped += sentinel.end() - end - len(SENTINEL_LINE)
            end = sentinel.end()
            self.owed -= 1
            if not self.owed:
                self._fate = _KEPT
                break
        self._pending.clear()
        return self.take(data[end:])


def _split(lines: bytes) -> list[str]:
    """Return the texts of whole lines, without their line ends (spec 8.7.1)."""
    if len(lines) > LONGEST_PIECE:
        each = lines.split(b"\n")[:-1]
        if max(map(len, each)) > LONGEST_PIECE:
            return [piece for line in each for piece in _cut(line.removesuffix(b"\r"))]
    text = lines.decode(errors="replace")
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return text.split("\n")[:-1]


def _cut(text: bytes) -> list[str]:
    """Return one line's text in pieces."""
    pieces: list[str] = []
    start = 0
    while len(text) - start > LONGEST_PIECE:
        end = _between_characters(text, start + LONGEST_PIECE)
        pieces.append(text[start:end].decode(errors="replace"))
        start = end
    pieces.append(text[start:].decode(errors="replace"))
    return pieces


def _between_characters(text: bytes | bytearray, at: int) -> int:
    """Return where to cut at `at` or just before it, so that no UTF-8 character is cut in two."""
    for back in (1, 2, 3):
        byte = text[at - back]
        if byte < 0x80:  # noqa: PLR2004 (ASCII)
            return at
        if byte >= 0xC0:  # noqa: PLR2004 (the first of 2, 3 or 4 bytes: 110…, 1110…, 11110…)
            length = 2 + (byte >= 0xE0) + (byte >= 0xF0)  # noqa: PLR2004
            return at - back if length > back else at
    return at
