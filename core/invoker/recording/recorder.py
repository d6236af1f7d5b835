"""Records between the answer and the store: encoded once, spooled, and written in batches until the store has them."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from invoker.config import Compat, RecordingSettings
from invoker.contracts import ActivationStore
from invoker.entities.activation import Activation, ActivationRecord
from invoker.errors import SettingsError
from invoker.recording.spool import SEGMENT, Segment, Spool
from invoker.recording.store_writer import Entry, StoreWriter
from invoker.wire.record import recorded

logger = logging.getLogger("invoker.recording")

_HELD: Final = 4 * SEGMENT
"""Bytes of records in the spool that are kept in memory too; of others only the spool has them."""
_SPOOL_RETRY: Final = 1.0
"""Seconds until a spool that can't be written is tried again."""


@asynccontextmanager
async def recording(
    store: ActivationStore, settings: RecordingSettings, compat: Compat, spool: Spool | None = None
) -> AsyncIterator["Recorder"]:
    """Run a recorder; leaving stores what waits, for at most `settings.grace` seconds. The rest stays in the spool.

    Without a spool, and with `recording.safety = "memory"`, it is lost.

    Raises:
        SettingsError: the spool can't be used, or another process uses it.
    """
    if spool is not None:
        try:
            await asyncio.to_thread(spool.open)
        except OSError as error:
            raise SettingsError([f"node.state_dir: the spool can't be used: {error}"]) from error
    recorder = Recorder(store, settings, compat, spool)
    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(recorder.write_until_closed(), name="recorder")
        syncing = tasks.create_task(recorder.sync_until_cancelled(), name="spool on disk")
        try:
            yield recorder
        finally:  # drain inside the group: a group that is left by an exception cancels its tasks
            recorder.close()
            await asyncio.wait({writer}, timeout=settings.grace)
            writer.cancel()  # does nothing to a writer that is done
            syncing.cancel()
            recorder.give_up()


class Recorder:
    """Takes records at once and writes them in batches, in order, until the store has them.

    Nothing is dropped while it runs: when `full`, the invoker admits nothing more.
    """

    def __init__(
        self, store: ActivationStore, settings: RecordingSettings, compat: Compat, spool: Spool | None = None
    ) -> None:
        self._writer = StoreWriter(store, settings, self._done, self._another)
        self._settings = settings
        self._compat = compat
        self._spool = spool if settings.safety != "memory" else None
        self._refusals = spool
        self._disk = settings.safety == "disk"
        self._loop = asyncio.get_running_loop()
        self._turn: list[Entry] = []
        """What has come in this turn of the event loop."""
        self._unsafe: list[Entry] = []
        """What has come since the spool could not be written: it is as safe as asked for when the store has it."""
        self._unsynced: list[Entry] = []
        self._retry: asyncio.TimerHandle | None = None
        self._written = asyncio.Event()
        """There is something to sync."""
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        """A whole batch waits, or it is time to leave."""
        self._closed = False
        self.pending_bytes = 0
        """Of all records that are not stored yet."""
        self.stored = 0
        self.refused = 0
        """Records that the store will never take."""
        self.replayed = 0
        """Records that were read from the spool."""
        self.lost = 0
        """Records that were not stored when stopping ran out of time."""
        self.spool_failure: str | None = None
        """Why the spool could not be written, as long as it can't."""
        self.batch_sizes: Callable[[int], None] = lambda _: None
        """Told the size of each batch that was stored."""
        self._listeners: list[Callable[[], None]] = []
        if self._spool is not None:
            self._spool.sync_wanted = self._disk
            self.pending_bytes = sum(segment.counted for segment in self._spool.unread)
            if self._spool.unread:
                logger.info("%d activation records of an earlier life wait in the spool", self.pending)
                self._arrived.set()

    @property
    def full(self) -> bool:
        """Whether no more records can be held."""
        return self.pending_bytes >= self._settings.max_bytes or self.spool_failure is not None

    @property
    def pending(self) -> int:
        """Records that are not stored yet."""
        unread = 0 if self._spool is None else sum(segment.left for segment in self._spool.unread)
        return len(self._turn) + len(self._waiting) + len(self._writer.batch) + unread

    @property
    def failing(self) -> bool:
        """Whether the last write into the store did not succeed."""
        return self._writer.failing

    @property
    def age(self) -> float:
        """Seconds since the activation began whose record has waited longest; 0 if none waits."""
        held = self._writer.batch or self._waiting
        if held:
            return max(0.0, time.time() - held[0].record.start / 1000)
        if self._spool is not None and self._spool.unread:
            with suppress(OSError):
                return max(0.0, time.time() - self._spool.unread[0].path.stat().st_ctime)
        return 0.0

    @property
    def spool_bytes(self) -> int:
        """Bytes of the spool."""
        return 0 if self._spool is None else self._spool.size

    def when_stored(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever records were stored, so that more can be held."""
        self._listeners.append(listener)

    def submit(self, activation: Activation) -> asyncio.Future[None] | None:
        """Take a record; never waits. The activation may be answered when the result is done, or at once for `None`."""
        entry = Entry(recorded(activation, compat=self._compat, updated=time.time_ns() // 1_000_000))
        self.pending_bytes += entry.size
        if self._spool is None:
            self._enqueue(entry)
            return None
        entry.safe = self._loop.create_future()
        self._turn.append(entry)
        if len(self._turn) == 1:
            self._loop.call_soon(self._end_turn)
        return entry.safe

    def close(self) -> None:
        """Write what is there without waiting for more; the writer then ends."""
        self._closed = True
        self._arrived.set()
        self._enough.set()

    def give_up(self) -> None:
        """Count and report what could not be stored; what the spool has stays there."""
        self._end_turn()
        kept = 0
        if self._spool is not None:
            kept = sum(segment.left for segment in self._spool.unread)
            kept += sum(entry.segment is not None for entry in (*self._writer.batch, *self._waiting))
            self._spool.close()
        self.lost = self.pending - kept
        if kept:
            logger.warning("%d activation records stay in the spool; they are stored when the invoker runs again", kept)
        if self.lost:
            logger.error("%d activation records could not be stored and are lost", self.lost)

    # --- the spool ------------------------------------------------------------------------------------------------

    def _end_turn(self) -> None:
        """Write what has come in this turn of the event loop to the spool: with one system call."""
        entries, self._turn = self._turn, []
        spool = self._spool
        if not entries or spool is None:
            return
        if self.spool_failure is None:
            held = not spool.unread and self._waiting_bytes < _HELD
            try:
                segment = spool.write([entry.record for entry in entries], held=held)
            except OSError as error:
                self._fail(error)
            else:
                if held:
                    for entry in entries:
                        self._enqueue(entry)
                else:
                    segment.counted += sum(entry.size for entry in entries)
                    self._arrived.set()
                self._note_written(entries, segment)
                return
        self._unsafe += entries
        for entry in entries:
            self._enqueue(entry)

    def _note_written(self, entries: Sequence[Entry], segment: Segment) -> None:
        for entry in entries:
            entry.segment = segment
        if self._disk:
            self._unsynced += entries
            self._written.set()
        else:
            for entry in entries:
                entry.is_safe()

    def _fail(self, error: OSError) -> None:
        """Admit nothing more until the spool can be written; who ends meanwhile is answered once the store has it."""
        if self.spool_failure is None:
            logger.error("the spool can't be written (%s): no new work until it can", error)
        self.spool_failure = str(error)
        if self._retry is None:
            self._retry = self._loop.call_later(_SPOOL_RETRY, self._write_again)

    def _write_again(self) -> None:
        self._retry = None
        if self._closed or self._spool is None:
            return
        entries = [entry for entry in self._unsafe if entry.safe is None or not entry.safe.done()]
        try:
            segment = self._spool.write([entry.record for entry in entries], held=True)
        except OSError as error:
            self._fail(error)
            return
        self._unsafe = []
        self.spool_failure = None
        logger.warning("the spool can be written again")
        self._note_written(entries, segment)
        self._written.set()
        self._tell()

    async def sync_until_cancelled(self) -> None:
        """Have what is written on the disk, all that has come meanwhile at once, where that is asked for."""
        while self._disk and self._spool is not None:
            await self._written.wait()
            self._written.clear()
            entries, self._unsynced = self._unsynced, []
            try:
                await asyncio.to_thread(self._spool.sync)
            except OSError as error:
                self._unsynced = entries + self._unsynced
                self._fail(error)
            else:
                for entry in entries:
                    entry.is_safe()
            self._spool.settle()

    # --- the store ------------------------------------------------------------------------------------------------

    async def write_until_closed(self) -> None:
        """Write batch after batch; returns when it is closed and all is stored."""
        while True:
            while not self._waiting:
                if self._spool is not None and self._spool.unread:
                    await self._read(self._spool)
                elif self._closed:
                    return
                else:
                    self._arrived.clear()
                    await self._arrived.wait()
            await self._let_a_batch_gather()
            await self._writer.write(self._batch())

    async def _read(self, spool: Spool) -> None:
        """Take what only the spool has into memory, a segment at a time."""
        segment = spool.next_unread()
        try:
            records = await asyncio.to_thread(spool.read, segment)
        except (OSError, msgspec.DecodeError) as error:
            logger.error("%s can't be read and is left where it is: %s", segment.path, error)  # noqa: TRY400
            records = []
        spool.unread.popleft()
        entries = [Entry(record, segment) for record in records]
        self.pending_bytes += sum(entry.size for entry in entries) - segment.counted
        self.replayed += len(entries)
        segment.left = len(entries)
        for entry in entries:
            self._enqueue(entry)

    def _enqueue(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._waiting_bytes += entry.size
        self._arrived.set()
        if self._waiting_bytes >= self._settings.batch_bytes or len(self._waiting) >= self._settings.batch_size:
            self._enough.set()

    async def _let_a_batch_gather(self) -> None:
        """Wait `flush_interval` for company, unless a whole batch is there, by number or by bytes."""
        if not self._enough.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.flush_interval):
                    await self._enough.wait()

    def _batch(self) -> list[Entry]:
        """Take the records of a batch out of the queue."""
        batch: list[Entry] = []
        total = 0
        while self._waiting and len(batch) < self._settings.batch_size:
            size = self._waiting[0].size
            if batch and total + size > self._settings.batch_bytes:
                break
            batch.append(self._waiting.popleft())
            total += size
        self._waiting_bytes -= total
        if not self._closed and self._waiting_bytes < self._settings.batch_bytes:
            self._enough.clear()
        return batch

    def _another(self) -> ActivationRecord | None:
        return self._waiting[0].record if self._waiting else None

    def _set_aside(self, entry: Entry, reason: str) -> None:
        activation_id = entry.record.activation_id
        logger.error("the store refuses the record of activation %s: %s", activation_id, reason)
        try:
            if self._refusals is not None:
                self._refusals.set_aside(entry.record, reason)
        except OSError as error:
            logger.error("the record of activation %s can't be set aside: %s", activation_id, error)  # noqa: TRY400

    def _done(self, entries: Sequence[Entry], refused: Mapping[str, str]) -> None:
        """Hold records no longer: the store has them, or will never take them."""
        self.batch_sizes(len(entries))
        for entry in entries:
            reason = refused.get(entry.record.activation_id)
            if reason is None:
                self.stored += 1
            else:
                self.refused += 1
                self._set_aside(entry, reason)
            entry.is_safe()
        self.pending_bytes -= sum(entry.size for entry in entries)
        if self._spool is not None:
            for segment, count in Counter(entry.segment for entry in entries).items():
                if segment is not None:
                    self._spool.done(segment, count)
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
