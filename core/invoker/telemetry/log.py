"""The log: lines handed over in a tenth of a microsecond, written by a thread.

A slow or stuck terminal must not hold up an invocation, so nobody writes to it but that thread; if it falls behind
by more than `_BOUND` lines, further ones are counted and left out, and the count is written once it is back.
"""

import json
import logging
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from invoker.config import TelemetrySettings

_BOUND = 10_000
"""Lines that may wait; at 1 kB each 10 MB."""
_GATHER = 0.02
"""Seconds the writer lets lines gather, so that it wakes 50 times a second at most and not once for each line."""

OURS = "invoker"
"""Name of the logger above all of the core's and of its plugins'."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What may move a terminal's cursor, change its title or worse; line breaks and tabs may stay."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogWriter:
    """Takes whole lines, newline included, from any thread; one thread writes them."""

    def __init__(self, stream: BinaryIO, *, text: bool) -> None:
        self._stream = stream
        self.text = text
        """Lines are for people, not for machines."""
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self.left_out = 0
        """Lines that were not written because the stream is too slow."""

    def line(self, line: bytes) -> None:
        """Take a line; never waits."""
        if self._lines.qsize() >= _BOUND:
            self.left_out += 1
        else:
            self._lines.put(line)

    def finish(self) -> None:
        """Have the writer write what is there, and end."""
        self._lines.put(None)
        self._hurry.set()

    def write_until_finished(self) -> None:
        """Write; the body of the thread."""
        while (first := self._lines.get()) is not None:
            self._hurry.wait(_GATHER)
            gathered = [first]
            try:
                while (line := self._lines.get_nowait()) is not None:
                    gathered.append(line)
            except queue.Empty:
                self._write(gathered)
            else:
                self._write(gathered)
                return

    def _write(self, lines: list[bytes]) -> None:
        left_out, self.left_out = self.left_out, 0
        if left_out:
            lines.append(b'{"level":"warning","message":"%d log lines were left out"}\n' % left_out)
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone: there is nobody to tell
            self.left_out += len(lines)


class LineHandler(logging.Handler):
    """Sends the standard library's log records through the writer."""

    def __init__(self, writer: LogWriter, encode: Callable[[logging.LogRecord], bytes]) -> None:
        super().__init__()
        self._writer = writer
        self._encode = encode

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record over."""
        self._writer.line(self._encode(record))


@contextmanager
def log_writing(settings: TelemetrySettings, stream: BinaryIO | None = None) -> Iterator[LogWriter]:
    """Write the log to `stream`, by default to standard error, until the block is left."""
    target = stream if stream is not None else sys.stderr.buffer
    writer = LogWriter(target, text=_is_text(settings, target))
    thread = threading.Thread(target=writer.write_until_finished, name="log writer", daemon=True)
    thread.start()
    handler = LineHandler(writer, as_text if writer.text else as_json)
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    before = root.level, ours.level
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root.setLevel(max(level, logging.INFO))  # at debug libraries only make noise: a line for each SQL statement
    ours.setLevel(level)
    root.addHandler(handler)
    try:
        yield writer
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])
        writer.finish()
        thread.join(timeout=5)  # a stuck terminal must not keep the process


def _is_text(settings: TelemetrySettings, stream: BinaryIO) -> bool:
    """Whether lines are for people."""
    return settings.format == "text" or (settings.format == "auto" and stream.isatty())


def as_json(record: logging.LogRecord) -> bytes:
    """Encode a record as one JSON line; what was passed as `extra` becomes fields of it."""
    fields: dict[str, object] = {
        "@timestamp": _timestamp(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    fields.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    text = json.dumps(fields, default=str, ensure_ascii=False)  # unlike msgspec it copes with what is no Unicode
    return text.encode("utf-8", "replace") + b"\n"


def as_text(record: logging.LogRecord) -> bytes:
    """Encode a record for a person."""
    clock = time.strftime("%H:%M:%S", time.localtime(record.created))
    text = f"{clock} {record.levelname.lower():7} {shielded(record.getMessage())}"
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return (text + "\n").encode("utf-8", "backslashreplace")


def shielded(text: str) -> str:
    """Return text with control characters escaped, as JSON may have them: somebody else may have written it."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _timestamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
