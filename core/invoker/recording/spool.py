"""The spool: records in files of their own until the store has them, so that they outlive the process, or the machine.

A directory of segments, each of which is deleted when the store has all of it. Beside them is what stores refused.
"""

import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from invoker.entities.activation import ActivationRecord
from invoker.errors import Occupied
from invoker.recording.segment import (
    DAMAGED,
    HEADER,
    LOCK,
    OLDER,
    REFUSED,
    SUFFIX,
    RefusedRecord,
    Segment,
    framed,
    frames,
    holder,
    refused,
    segments,
    unpack,
    write_all,
)

logger = logging.getLogger("invoker.recording")

SEGMENT: Final = 4 << 20
"""Bytes after which a segment is sealed: what is read again at once, and what one record may keep on the disk."""
RESERVE: Final = 2 * SEGMENT
"""Bytes that must be free on the disk for new work to be taken: what is under way needs room, too."""
REFUSED_BYTES: Final = 64 << 20
"""Of refused records that are kept, at least; at most twice as many."""


class Spool:
    """Owns the directory of one invoker. `open`, `read`, `sync` and `set_aside` are for threads; nothing else is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = -1
        self._number = 0
        self.active: Segment | None = None
        """The one that is being written."""
        self.unread: deque[Segment] = deque()
        """Segments whose records are nowhere else, the oldest first."""
        self.size = 0
        """Bytes of all segments."""
        self.short = False
        """Less than `RESERVE` is free on its disk."""

    def open(self) -> None:
        """Lock it, look for what an earlier life has left, and cut off what was not written to its end.

        Raises:
            OSError: it can't be used.
            Occupied: another process uses it.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take_lock()
            self.look()
            for path in segments(self._directory):
                self._number = max(self._number, int(path.stem))
                self._find(path)
        except BaseException:
            os.close(self._lock)
            self._lock = -1
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = holder(self._directory)
            fault = (
                f"node.id: the spool {self._directory} is in use by process {found or 'unknown'}, which is the same "
                "invoker. Stop it, or give this one a node.unique_name that no other has"
            )
            raise Occupied(fault, holder=found) from None
        with suppress(OSError):  # the disk may be full, and what waits may go all the same
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, b"%d" % os.getpid(), 0)

    def _find(self, path: Path) -> None:
        """Take up a segment of an earlier life."""
        data = path.read_bytes()
        if HEADER.startswith(data.rstrip(b"\0")):  # only begun, or its bytes never reached the disk
            path.unlink()
            return
        if not data.startswith(HEADER):
            logger.error("%s is no spool file of this version and is left alone", path)
            return
        segment = Segment(path, held=False, size=len(HEADER), since=path.stat().st_mtime)
        whole = len(HEADER)
        for start, segment.size, _ in frames(data):
            segment.left += 1
            whole += segment.size - start
        if segment.size < len(data):
            torn = len(data) - segment.size
            logger.warning("the last %d bytes of %s are no whole record: they are cut off", torn, path)
            os.truncate(path, segment.size)
        if not segment.left:
            path.unlink()
            return
        if whole < segment.size:
            _note_damage(segment, segment.size - whole)
        segment.counted = segment.size
        self.size += segment.size
        self.unread.append(segment)

    def write(self, data: Sequence[bytes], *, held: bool) -> Segment:
        """Append records, `framed`, with one system call; all of them are there, or none.

        Raises:
            OSError: they can't be, such as for want of space.
        """
        segment = self.active
        if segment is None or segment.held is not held or segment.size >= SEGMENT:
            segment = self._begin(held=held)
        whole = b"".join(data)
        try:
            write_all(segment.descriptor, whole)
        except OSError:
            try:
                os.ftruncate(segment.descriptor, segment.size)
            finally:
                self.seal()
            raise
        segment.size += len(whole)
        segment.left += len(data)
        self.size += len(whole)
        return segment

    def _begin(self, *, held: bool) -> Segment:
        self.seal()
        self._number += 1
        path = self._directory / f"{self._number:016}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # somebody may have deleted it
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, HEADER)
            self.look()
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self.active = Segment(path, held=held, size=len(HEADER), descriptor=descriptor)
        self.size += len(HEADER)
        if not held:
            self.unread.append(self.active)
        return self.active

    def seal(self) -> None:
        """Write no more to the segment that is being written."""
        segment, self.active = self.active, None
        if segment is None:
            return
        os.close(segment.descriptor)
        segment.descriptor = -1
        if not segment.left:
            if not segment.held:
                self.unread.remove(segment)
            self._delete(segment)

    def look(self) -> None:
        """See how much is free on the disk."""
        status = os.statvfs(self._directory)
        self.short = status.f_bavail * status.f_frsize < RESERVE

    def sync(self, which: Iterable[Segment]) -> None:
        """Have segments on the disk, their names included. They are opened anew: their writer may close them meanwhile.

        Raises:
            OSError: one can't be. What was written to it may never get there, even if another try succeeds.
        """
        for segment in which:
            try:
                _sync(segment.path, os.fdatasync)
            except FileNotFoundError:  # the store has all of it
                continue
            if not segment.named:
                for folder in (self._directory, self._directory.parent, self._directory.parent.parent):
                    _sync(folder, os.fsync)
                segment.named = True

    def next_unread(self) -> Segment:
        """Take the oldest segment that is to be read; nothing more is written to it."""
        if self.unread[0] is self.active:
            self.seal()
        return self.unread.popleft()

    def read(self, segment: Segment) -> list[ActivationRecord]:
        """Return the records of a segment.

        Raises:
            OSError: it can't be read.
        """
        records: list[ActivationRecord] = []
        try:
            data = segment.path.read_bytes()
        except FileNotFoundError:
            logger.error("%s was deleted, and records with it: %d", segment.path, segment.left)  # noqa: TRY400 (see below)
            return records
        whole = len(HEADER)
        for start, end, body in frames(data):
            try:
                records.append(unpack(body))
                whole += end - start
            except msgspec.DecodeError as error:
                logger.error("%s: %s", segment.path, error)  # noqa: TRY400 (where it stood is nobody's fault)
        if whole < segment.size and not segment.damaged:
            _note_damage(segment, segment.size - whole)
        return records

    def done(self, segment: Segment, count: int) -> None:
        """Note that the store has, or will never have, so many of a segment's records; delete it after its last one."""
        segment.left -= count
        if segment.left:
            return
        if segment is not self.active:
            self._delete(segment)
            return
        try:  # so that little is read again after a sudden death
            os.ftruncate(segment.descriptor, len(HEADER))
        except OSError:
            self.seal()
        else:
            self.size -= segment.size - len(HEADER)
            segment.size = len(HEADER)

    def _delete(self, segment: Segment) -> None:
        self.size -= segment.size
        try:
            if segment.damaged:
                segment.path.replace(segment.path.with_suffix(DAMAGED))
            else:
                segment.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s can't be deleted; its records will be stored once more: %s", segment.path, error)

    def set_aside(self, records: Iterable[RefusedRecord], *, sync: bool) -> None:
        """Keep records that the store will never take, for `invoker spool`; with `sync` on the disk.

        Raises:
            OSError: they can't be kept.
        """
        path = self._directory / REFUSED
        if path.exists() and path.stat().st_size >= REFUSED_BYTES:
            path.replace(self._directory / OLDER)
            logger.error("there are more than %d bytes of refused records: older ones are dropped", REFUSED_BYTES)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, b"".join([b"" if size else HEADER, *map(framed, records)]))
            if sync:
                os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)

    def take_back(self) -> int:
        """Have the store asked again for what it refused; return how many records that are.

        Raises:
            OSError: they can't be written; they stay set aside.
        """
        count = 0
        for count, each in enumerate(refused(self._directory), 1):  # noqa: B007 (how many there were)
            segment = self.write([framed(each.record)], held=False)
            segment.counted = segment.size
        self.drop_refused()
        return count

    def drop(self) -> None:
        """Delete what waits for the store."""
        while self.unread:
            self._delete(self.unread.popleft())

    def drop_refused(self) -> None:
        """Delete what stores refused."""
        for name in (OLDER, REFUSED):
            (self._directory / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Write no more. What the store has not got stays for the next life."""
        self.seal()
        if self._lock >= 0:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1


def _note_damage(segment: Segment, size: int) -> None:
    segment.damaged = True
    logger.error("%d bytes of %s are damaged: it is kept when the store has all others", size, segment.path)


def _sync(path: Path, how: Callable[[int], None]) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        how(descriptor)
    finally:
        os.close(descriptor)
