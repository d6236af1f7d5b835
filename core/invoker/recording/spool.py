"""The spool: records in files of their own until the store has them, so that they outlive the process, or the machine.

A directory of segments. Each begins with `_HEADER`; frames follow, each with its length, its checksum and one record. A
segment is deleted when the store has all of it. Beside them is what stores refused, with their reasons, in frames too.
"""

import fcntl
import logging
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from invoker.config import NodeSettings, state_dir
from invoker.entities.activation import ActivationRecord
from invoker.errors import Occupied

logger = logging.getLogger("invoker.spool")

SEGMENT: Final = 4 << 20
"""Bytes after which a segment is sealed: what is read again at once, and what one stored record may keep on disk."""
REFUSED: Final = 64 << 20
"""Bytes of refused records that are kept, at least; at most twice as many."""
_HEADER: Final = b"functions-invoker spool 1\n"
_FRAME: Final = struct.Struct("<II")
"""Bytes, and CRC-32 of them."""
_SUFFIX: Final = ".spool"
_LOCK: Final = "lock"

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(ActivationRecord)


class RefusedRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record that its store will never take."""

    reason: str
    record: ActivationRecord


_unpack_refused: Final = msgspec.msgpack.Decoder(RefusedRecord)


class Segment:
    """One file of records, in the order in which activations ended."""

    __slots__ = ("counted", "descriptor", "held", "left", "path", "size")

    def __init__(self, path: Path, *, held: bool, left: int = 0, size: int = 0, descriptor: int = -1) -> None:
        self.path = path
        self.held = held
        """Its records are in memory too: it is not read while this process lives."""
        self.left = left
        """Records that the store has not got yet."""
        self.size = size
        self.counted = size if left else 0
        """What the recorder has counted for those of its records that are not in memory."""
        self.descriptor = descriptor
        """-1 once nothing more is written to it."""


class Spool:
    """Owns the directory of one invoker. Only the recorder uses it; `open`, `sync` and `read` are for threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = -1
        self._active: Segment | None = None
        self._number = 0
        self._dirty: list[int] = []
        """Descriptors of what is not on the disk yet."""
        self._sealed: list[int] = []
        """Those to which nothing more is written, and which are closed when they are on the disk."""
        self.sync_wanted = False
        """Whether `sync` will be called for what is written."""
        self.unread: deque[Segment] = deque()
        """Segments whose records are nowhere else, the oldest first."""
        self.size = 0
        """Bytes of all segments."""
        self.cut = 0
        """Bytes of torn or damaged frames that were found when it was opened."""

    def open(self) -> None:
        """Lock it, look for what an earlier life has left, and cut off what was not written to its end.

        Raises:
            OSError: the directory can't be used.
            Occupied: another process uses it.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = holder(self._directory)
            os.close(self._lock)
            fault = f"node.id: {self._directory} is in use by process {found or 'unknown'}, which is the same invoker"
            raise Occupied(fault, holder=found) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d" % os.getpid(), 0)
        for path in segments(self._directory):
            self._number = max(self._number, int(path.stem))
            count, good = _measured(path)
            if count:
                self.unread.append(Segment(path, held=False, left=count, size=good))
                self.size += good
            self._mend(path, good, delete=not count)

    def _mend(self, path: Path, good: int, *, delete: bool) -> None:
        """Take what is no record out of a file, but keep it if it may be more than the tail of an interrupted write."""
        damaged = path.stat().st_size - max(good, len(_HEADER))
        if damaged > 0:
            self.cut += damaged
            aside = path.with_suffix(".damaged")
            aside.write_bytes(path.read_bytes()[max(good, len(_HEADER)) :])
            logger.warning("%d bytes at the end of %s are no whole record; they are in %s", damaged, path, aside.name)
            os.truncate(path, max(good, len(_HEADER)))
        if delete:
            path.unlink()

    def write(self, records: Sequence[ActivationRecord], *, held: bool) -> Segment:
        """Append records in one write; all of them are there, or none.

        Raises:
            OSError: they can't be, such as for want of space.
        """
        segment = self._active
        if segment is None or segment.held is not held or segment.size >= SEGMENT:
            segment = self._begin(held=held)
        data = b"".join([part for record in records for part in framed(_pack(record))])
        try:
            _write_all(segment.descriptor, data)
        except OSError:
            try:
                os.ftruncate(segment.descriptor, segment.size)
            finally:
                self._seal()
            raise
        segment.size += len(data)
        segment.left += len(records)
        self.size += len(data)
        if self.sync_wanted and segment.descriptor not in self._dirty:
            self._dirty.append(segment.descriptor)
        return segment

    def sync(self) -> None:
        """Have everything that was written on the disk. For a thread, beside `write`.

        Raises:
            OSError: it can't be.
        """
        dirty, self._dirty = self._dirty, []  # before: what is written meanwhile is to be synced again
        try:
            for descriptor in dirty:
                os.fdatasync(descriptor)
        except OSError:
            self._dirty += dirty
            raise

    def settle(self) -> None:
        """Close what is sealed and on the disk. Not while `sync` runs."""
        for descriptor in [each for each in self._sealed if each not in self._dirty]:
            self._sealed.remove(descriptor)
            os.close(descriptor)

    def next_unread(self) -> Segment:
        """Return the oldest segment that is to be read; nothing more is written to it."""
        if self.unread[0] is self._active:
            self._seal()
        return self.unread[0]

    def read(self, segment: Segment) -> list[ActivationRecord]:
        """Return the records of a segment. For a thread."""
        return [_unpack.decode(body) for body in frames(segment.path)]

    def done(self, segment: Segment, count: int) -> None:
        """Note that the store has, or will never have, so many of a segment's records; delete it after its last one."""
        segment.left -= count
        if segment.left > 0 or segment in self.unread:
            return
        self.size -= segment.size
        try:
            if segment is self._active:  # what is read again after a sudden death is little then
                os.ftruncate(segment.descriptor, len(_HEADER))
                segment.size = len(_HEADER)
                self.size += segment.size
            else:
                segment.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s could not be emptied: its records will be stored once more: %s", segment.path, error)

    def set_aside(self, record: ActivationRecord, reason: str) -> None:
        """Keep a record that the store will never take, for `invoker spool`.

        Raises:
            OSError: it can't be kept.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / "refused"
        if path.exists() and path.stat().st_size >= REFUSED:
            path.replace(path.with_suffix(".older"))
            logger.error("more than %d bytes of records are refused: the older ones are dropped", 2 * REFUSED)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            header = b"" if os.fstat(descriptor).st_size else _HEADER
            _write_all(descriptor, header + b"".join(framed(_pack(RefusedRecord(reason, record)))))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Write no more. What the store has not got stays for the next life."""
        self._seal()
        self._dirty = []
        self.settle()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _begin(self, *, held: bool) -> Segment:
        self._seal()
        self._number += 1
        path = self._directory / f"{self._number:016}{_SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, _HEADER)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        if self.sync_wanted:  # its name, too, must be there after the machine's death
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        self._active = Segment(path, held=held, size=len(_HEADER), descriptor=descriptor)
        self.size += len(_HEADER)
        if not held:
            self.unread.append(self._active)
        return self._active

    def _seal(self) -> None:
        segment, self._active = self._active, None
        if segment is None:
            return
        if self.sync_wanted:
            self._sealed.append(segment.descriptor)
        else:
            os.close(segment.descriptor)
        segment.descriptor = -1
        if not segment.left:
            self.size -= segment.size
            segment.path.unlink(missing_ok=True)


def spool_directory(node: NodeSettings) -> Path:
    """Return where an invoker's spool is. It need not be there."""
    return state_dir(node) / "spool" / quote(f"{node.unique_name or ''}invoker{node.id}", safe="")


def holder(directory: Path) -> int | None:
    """Return the process that uses a spool, or used it last; `None` if nobody ever has."""
    try:
        text = (directory / _LOCK).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None


def segments(directory: Path) -> list[Path]:
    """Return the files of a spool, the oldest first."""
    return sorted(path for path in directory.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def waiting(directory: Path) -> Iterator[ActivationRecord]:
    """Yield the records of a spool, the oldest first; it may be in use."""
    for path in segments(directory):
        for body in frames(path):
            yield _unpack.decode(body)


def refused(directory: Path) -> Iterator[RefusedRecord]:
    """Yield what stores refused, the oldest first."""
    for name in ("refused.older", "refused"):
        for body in frames(directory / name):
            yield _unpack_refused.decode(body)


def frames(path: Path) -> Iterator[bytes]:
    """Yield what a file has in whole frames, up to the first one that is not."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # stored meanwhile
        return
    if not data.startswith(_HEADER):
        return
    at = len(_HEADER)
    while len(data) - at >= _FRAME.size:
        size, checksum = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        body = data[at : at + size]
        if len(body) != size or zlib.crc32(body) != checksum:
            return
        yield body
        at += size


def framed(body: bytes) -> tuple[bytes, bytes]:
    """Return a frame's two parts."""
    return _FRAME.pack(len(body), zlib.crc32(body)), body


def _measured(path: Path) -> tuple[int, int]:
    """Return how many whole frames a file has, and the bytes up to their end."""
    count, size = 0, 0
    for body in frames(path):
        count += 1
        size += _FRAME.size + len(body)
    return count, size + len(_HEADER) if count else 0


def _write_all(descriptor: int, data: bytes) -> None:
    while (written := os.write(descriptor, data)) < len(data):
        data = data[written:]
