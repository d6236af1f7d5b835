"""Files of records: a header, then frames, each with a mark, its length, its checksum and one record.

Length and checksum tell what was not written to its end. The mark, which no UTF-8 has, is where reading goes on behind
damage.
"""

import asyncio
import os
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from invoker.config import NodeSettings, state_dir
from invoker.entities.activation import ActivationRecord

HEADER: Final = b"functions-invoker spool 1\n"
SUFFIX: Final = ".spool"
DAMAGED: Final = ".damaged"
LOCK: Final = "lock"
REFUSED: Final = "refused"
OLDER: Final = "refused.older"

_AROUND: Final = 512
"""Bytes that a record counts besides its document."""
_MARK: Final = b"\xf5rec"
_FRAME: Final = struct.Struct("<4sII")
"""The mark, how many bytes follow, and CRC-32 of them."""

_pack: Final = msgspec.msgpack.Encoder().encode
unpack: Final = msgspec.msgpack.Decoder(ActivationRecord).decode


class RefusedRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record that its store will never take."""

    reason: str
    record: ActivationRecord


_unpack_refused: Final = msgspec.msgpack.Decoder(RefusedRecord).decode


class Segment:
    """One file of records, in the order in which activations ended."""

    __slots__ = ("counted", "damaged", "descriptor", "held", "left", "named", "path", "since", "size")

    def __init__(self, path: Path, *, held: bool, size: int, descriptor: int = -1, since: float | None = None) -> None:
        self.path = path
        self.held = held
        """Its records are in memory too: it is not read while this process lives."""
        self.left = 0
        """Records that the store has not got yet."""
        self.size = size
        self.counted = 0
        """Bytes that the recorder counts for those of its records that are not in memory."""
        self.since = time.time() if since is None else since
        """Unix seconds: about when the first of its records was written."""
        self.damaged = False
        """It is kept when the store has all that can be read of it."""
        self.descriptor = descriptor
        """-1 once nothing more is written to it."""
        self.named = False
        """Its name is on the disk."""


class Entry:
    """A record on its way."""

    __slots__ = ("frame", "gone", "record", "safe", "segment", "size")

    def __init__(self, record: ActivationRecord, segment: Segment | None = None) -> None:
        self.record = record
        self.size = _AROUND + len(record.fields) + len(record.logs)
        self.segment = segment
        """Where the spool has it."""
        self.frame = b""
        """As it goes into the spool, until it is there."""
        self.safe: asyncio.Future[None] | None = None
        """Done when it is as safe as was asked for, or stored."""
        self.gone = False
        """The store has it, or will never take it."""

    def tell_safe(self) -> None:
        """Let who waits for that go on."""
        if self.safe is not None and not self.safe.done():
            self.safe.set_result(None)


def framed(record: ActivationRecord | RefusedRecord) -> bytes:
    """Return a record as files have it."""
    body = _pack(record)
    return _FRAME.pack(_MARK, len(body), zlib.crc32(body)) + body


def frames(data: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """Yield the whole frames of a file: where each begins and ends, and what is in it."""
    view = memoryview(data)
    at = data.find(_MARK, len(HEADER)) if data.startswith(HEADER) else -1
    while 0 <= at <= len(data) - _FRAME.size:
        _, size, checksum = _FRAME.unpack_from(data, at)
        start = at + _FRAME.size
        body = view[start : start + size]
        if len(body) == size and zlib.crc32(body) == checksum:
            yield at, start + size, body
            at = data.find(_MARK, start + size)
        else:
            at = data.find(_MARK, at + 1)


def write_all(descriptor: int, data: bytes) -> None:
    """Write data, with one system call unless the system takes less.

    Raises:
        OSError: part of it may be written.
    """
    while (written := os.write(descriptor, data)) < len(data):
        data = data[written:]


def spool_directory(node: NodeSettings) -> Path:
    """Return where an invoker's spool is. It need not be there."""
    return state_dir(node) / "spool" / quote(f"{node.unique_name or ''}invoker{node.id}", safe="")


def holder(directory: Path) -> int | None:
    """Return the process that uses a spool, if that can be told."""
    try:
        process = int((directory / LOCK).read_text("ascii"))
    except (OSError, ValueError):
        return None
    with suppress(PermissionError):  # another user's
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return None
    return process


def segments(directory: Path) -> list[Path]:
    """Return the files of a spool, the oldest first."""
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdecimal())


def waiting(directory: Path) -> Iterator[ActivationRecord]:
    """Yield the records of a spool, the oldest first. If it is in use, the store may have some of them."""
    for path in segments(directory):
        yield from map(unpack, _bodies(path))


def refused(directory: Path) -> Iterator[RefusedRecord]:
    """Yield what stores refused, the oldest first."""
    for name in (OLDER, REFUSED):
        yield from map(_unpack_refused, _bodies(directory / name))


def _bodies(path: Path) -> Iterator[memoryview]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # stored meanwhile, or none is refused
        return
    for _, _, body in frames(data):
        yield body
