"""Records on their way into the spool: what ends in one turn of the event loop goes with one system call."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from invoker.recording.segment import Entry, framed
from invoker.recording.spool import RESERVE, SEGMENT, Spool
from invoker.units import ByteSize

logger = logging.getLogger("invoker.recording")

_RETRY: Final = 1.0
"""Seconds until a spool that can't be written is tried again."""


class SpoolWriter:
    """Makes records as safe as was asked for: in a file, or on the disk.

    What can't be spooled is in memory alone. It is safe once it is spooled after all, or stored; until then its
    activation is not answered, and nothing more is admitted.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        disk: bool,
        may_hold: Callable[[], bool],
        take: Callable[[Sequence[Entry], bool], None],
        works: Callable[[], None],
    ) -> None:
        """`take` is told of records, and whether they are to be held in memory; `works` that the spool does again."""
        self._spool = spool
        self._disk = disk
        self._may_hold = may_hold
        self._take = take
        self._works = works
        self._turn: list[Entry] = []
        """What has come in this turn of the event loop."""
        self._unsafe: list[Entry] = []
        """What could not be spooled."""
        self._unsynced: list[Entry] = []
        self._written = asyncio.Event()
        """There is something to sync."""
        self._retry: asyncio.TimerHandle | None = None
        self.failure: str | None = None
        """Why it can't be written, as long as it can't."""
        self._look()

    @property
    def pending(self) -> int:
        """Records that nobody else has yet."""
        return len(self._turn)

    def submit(self, entry: Entry) -> asyncio.Future[None]:
        """Take a record; return what is done when it is safe."""
        loop = asyncio.get_running_loop()
        entry.frame = framed(entry.record)
        entry.safe = loop.create_future()
        self._turn.append(entry)
        if len(self._turn) == 1:
            loop.call_soon(self._end_turn)
        return entry.safe

    def flush(self) -> None:
        """Write what has come, without waiting for the end of the turn."""
        while self._turn:
            self._end_turn()

    def close(self) -> None:
        """Write what has come, and nothing after that."""
        self.flush()
        if self._retry is not None:
            self._retry.cancel()

    def _end_turn(self) -> None:
        entries, self._turn = _parted(self._turn)
        if self._turn:
            asyncio.get_running_loop().call_soon(self._end_turn)
        if not entries:
            return
        held = self._may_hold()
        if self._unsafe or not self._write(entries, held=held):
            self._unsafe += entries
            held = True
        self._take(entries, held)

    def _write(self, entries: Sequence[Entry], *, held: bool) -> bool:
        """Spool records, and say whether that was possible. Without any, at least a new segment is begun."""
        try:
            segment = self._spool.write([entry.frame or framed(entry.record) for entry in entries], held=held)
        except OSError as error:
            self._fail(str(error))
            return False
        for entry in entries:
            if entry.segment is not None:  # which may never reach the disk
                self._spool.done(entry.segment, 1)
            entry.segment, entry.frame = segment, b""
            if not self._disk:
                entry.tell_safe()
        if self._disk:
            self._unsynced += entries
            self._written.set()
        self._look()
        return True

    def _look(self) -> None:
        if self._spool.short:
            self._fail(f"less than {ByteSize(RESERVE)} is free on its disk")

    def _fail(self, reason: str) -> None:
        if self.failure is None:
            logger.error("the spool can't be written (%s): no new work until it can", reason)
        self.failure = reason
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY, self._try_again)

    def _try_again(self) -> None:
        """Spool what could not be, and look whether there is room for more."""
        self._retry = None
        with suppress(OSError):
            self._spool.look()
        entries, later = _parted([entry for entry in self._unsafe if not entry.gone])
        if self._write(entries, held=True):
            self._unsafe = later
            if later and self._retry is None:
                self._retry = asyncio.get_running_loop().call_later(_RETRY, self._try_again)
            if not self._disk:
                self._recover()

    def _recover(self) -> None:
        if self.failure is not None and not self._unsafe and not self._spool.short:
            self.failure = None
            logger.warning("the spool can be written again")
            self._works()

    async def sync_until_cancelled(self) -> None:
        """Have what is written on the disk, all that has come meanwhile at once, if that is asked for."""
        while True:
            await self._written.wait()
            self._written.clear()
            entries, self._unsynced = self._unsynced, []
            segments = {segment for segment in (self._spool.active, *(each.segment for each in entries)) if segment}
            try:
                await asyncio.to_thread(self._spool.sync, segments)
            except OSError as error:
                self._distrust(entries + self._unsynced)
                self._fail(str(error))
            else:
                for entry in entries:
                    entry.tell_safe()
                self._recover()

    def _distrust(self, entries: Sequence[Entry]) -> None:
        """Spool records anew: after one failure the system may say that they are on the disk though they are not."""
        self._unsynced = []
        self._unsafe += entries
        self._spool.seal()
        for entry in entries:
            if entry.segment is not None and not entry.segment.held:
                entry.segment = None  # the copy there counts for itself
                self._take([entry], True)  # noqa: FBT003 (it is to be held)


def _parted(entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return as many as are written at once, a segment's worth at most or one, and the others."""
    size = 0
    for number, entry in enumerate(entries):
        size += entry.size
        if size > SEGMENT and number:
            return entries[:number], entries[number:]
    return entries, []
