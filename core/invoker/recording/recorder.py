"""Records between the answer and the store: encoded once, spooled, and written in batches until the store has them."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from invoker.config import Compat, RecordingSettings
from invoker.contracts import ActivationStore
from invoker.entities.activation import Activation
from invoker.errors import SettingsError
from invoker.recording.segment import Entry, RefusedRecord, Segment
from invoker.recording.spool import SEGMENT, Spool
from invoker.recording.spool_writer import SpoolWriter
from invoker.recording.store_writer import StoreWriter
from invoker.wire.record import recorded

logger = logging.getLogger("invoker.recording")

_HELD: Final = 4 * SEGMENT
"""Bytes of records in the spool that are kept in memory too; of others only the spool has them."""
_RETRY: Final = 1.0
"""Seconds until a segment that could not be read is read again."""


@asynccontextmanager
async def recording(
    store: ActivationStore, settings: RecordingSettings, compat: Compat = "openwhisk", spool: Spool | None = None
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
            if settings.safety != "memory":
                hint = 'recording.safety = "memory" needs none'
                raise SettingsError([f"node.state_dir: the spool can't be used ({error}); {hint}"]) from error
            logger.warning("what the store refuses will be lost, for there is no spool: %s", error)
            spool = None
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
        self,
        store: ActivationStore,
        settings: RecordingSettings,
        compat: Compat = "openwhisk",
        spool: Spool | None = None,
    ) -> None:
        self._settings = settings
        self._compat = compat
        self._disk = settings.safety == "disk"
        self._writer = StoreWriter(store, settings, self._done, self._another)
        self._spool = spool
        self._safe: SpoolWriter | None = None
        if spool is not None and settings.safety != "memory":
            self._safe = SpoolWriter(spool, disk=self._disk, may_hold=self._may_hold, take=self._take, works=self._tell)
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._reading: Segment | None = None
        self._unreadable = False
        """The last try to read one has failed."""
        self._behind: list[Entry] = []
        """What has come while a segment is read: it waits behind that."""
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
        """Records that were not stored when stopping ran out of time, and that no spool has."""
        self.batch_sizes: Callable[[int], None] = lambda _: None
        """Told the size of each batch that was stored."""
        self._listeners: list[Callable[[], None]] = []
        if spool is not None and spool.unread:
            self.pending_bytes = sum(segment.counted for segment in spool.unread)
            logger.info("activation records of an earlier life wait in the spool: %d", self.pending)

    @property
    def full(self) -> bool:
        """Whether no more records can be held."""
        return self.pending_bytes >= self._settings.max_bytes or self.spool_failure is not None

    @property
    def lack(self) -> str:
        """Why it is full."""
        stuck = self.spool_failure is not None
        return "activation records can't be spooled" if stuck else "too many activation records wait for the store"

    @property
    def pending(self) -> int:
        """Records that are not stored yet."""
        arriving = 0 if self._safe is None else self._safe.pending
        return arriving + len(self._held()) + sum(segment.left for segment in self._unread())

    @property
    def failing(self) -> bool:
        """Whether the last write into the store did not succeed."""
        return self._writer.failing

    @property
    def silence(self) -> float:
        """Seconds for which the store has not answered; 0 if nothing is asked of it."""
        return self._writer.silence

    @property
    def age(self) -> float:
        """Seconds since the activation began whose record has waited longest, or was spooled; 0 if none waits."""
        for held in (self._writer.batch, self._waiting):
            if held:
                return max(0.0, time.time() - held[0].record.start / 1000)
        return max((time.time() - segment.since for segment in self._unread()), default=0.0)

    @property
    def spool_bytes(self) -> int:
        """Bytes of the spool."""
        return 0 if self._spool is None else self._spool.size

    @property
    def spool_failure(self) -> str | None:
        """Why the spool can't be written, if it can't."""
        return None if self._safe is None else self._safe.failure

    def when_stored(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever more can be held: records were stored, or the spool works again."""
        self._listeners.append(listener)

    def submit(self, activation: Activation) -> asyncio.Future[None] | None:
        """Take a record; never waits. The activation may be answered when the result is done, or at once for `None`."""
        entry = Entry(recorded(activation, compat=self._compat, updated=time.time_ns() // 1_000_000))
        if self._safe is not None:
            return self._safe.submit(entry)
        self._take([entry], True)  # noqa: FBT003 (it is held)
        return None

    def close(self) -> None:
        """Write what is there without waiting for more; the writer then ends."""
        if self._safe is not None:
            self._safe.flush()
        self._closed = True
        self._arrived.set()
        self._enough.set()

    def give_up(self) -> None:
        """Count and report what could not be stored; what the spool has stays there."""
        if self._safe is not None:
            self._safe.close()
        self.lost = sum(entry.segment is None for entry in self._held())
        kept = self.pending - self.lost
        if self._spool is not None:
            self._spool.close()
        if kept:
            logger.warning("activation records stay in the spool until the invoker runs again: %d", kept)
        if self.lost:
            logger.error("%d activation records could not be stored and are lost", self.lost)

    async def sync_until_cancelled(self) -> None:
        """Have what is spooled on the disk, if that is asked for."""
        if self._safe is not None and self._disk:
            await self._safe.sync_until_cancelled()

    async def write_until_closed(self) -> None:
        """Write batch after batch; returns when it is closed and all is stored."""
        while True:
            enough = self._has_batch() or (self._unreadable and self._waiting)
            if self._spool is not None and self._spool.unread and not enough:
                await self._read(self._spool)
            elif self._waiting:
                await self._let_a_batch_gather()
                await self._writer.write(self._batch())
            elif self._closed:
                return
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _read(self, spool: Spool) -> None:
        """Take a segment that only the spool has into memory."""
        segment = self._reading = spool.next_unread()
        entries: list[Entry] = []
        failure: OSError | None = None
        try:
            entries += await asyncio.to_thread(lambda: [Entry(record, segment) for record in spool.read(segment)])
        except OSError as error:
            failure = error
        self._reading = None
        size = sum(entry.size for entry in entries)
        self._waiting += (*entries, *self._behind)
        self._waiting_bytes += size
        self._behind = []
        self._unreadable = failure is not None
        if failure is not None:
            logger.error("a segment of the spool can't be read, and is tried again: %s", failure)
            spool.unread.append(segment)
            await asyncio.sleep(_RETRY)
            return
        self.replayed += len(entries)
        self.pending_bytes += size - segment.counted
        spool.done(segment, segment.left - len(entries))  # what is damaged

    def _held(self) -> Sequence[Entry]:
        """Return what is in memory."""
        return [entry for entry in (*self._writer.batch, *self._waiting, *self._behind) if not entry.gone]

    def _unread(self) -> Sequence[Segment]:
        """Return what is in the spool alone, the oldest first."""
        if self._spool is None:
            return ()
        return (*([] if self._reading is None else [self._reading]), *self._spool.unread)

    def _may_hold(self) -> bool:
        """Say whether what is spooled now is held in memory, too: nothing behind what isn't, and not too much."""
        return self._spool is not None and not self._spool.unread and self._waiting_bytes < _HELD

    def _take(self, entries: Sequence[Entry], held: bool) -> None:  # noqa: FBT001 (see `SpoolWriter`)
        """Have records written into the store, whether they are held here or by the spool alone."""
        for entry in entries:
            self.pending_bytes += entry.size
            if held:
                (self._waiting if self._reading is None else self._behind).append(entry)
                self._waiting_bytes += entry.size
            elif entry.segment is not None:
                entry.segment.counted += entry.size
        self._arrived.set()
        if self._has_batch():
            self._enough.set()

    def _has_batch(self) -> bool:
        return self._waiting_bytes >= self._settings.batch_bytes or len(self._waiting) >= self._settings.batch_size

    async def _let_a_batch_gather(self) -> None:
        """Wait `flush_interval` for company, unless a whole batch is there, by number or by bytes."""
        if not self._closed and not self._has_batch():
            self._enough.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.flush_interval):
                    await self._enough.wait()

    def _batch(self) -> list[Entry]:
        """Take the records of a batch out of the queue."""
        batch: list[Entry] = []
        total = 0
        while self._waiting and len(batch) < self._settings.batch_size:
            total += self._waiting[0].size
            if batch and total > self._settings.batch_bytes:
                break
            batch.append(self._next())
        return batch

    def _next(self) -> Entry:
        """Take the next record out of the queue."""
        entry = self._waiting.popleft()
        self._waiting_bytes -= entry.size
        return entry

    async def _another(self) -> Entry | None:
        """Take the next record out of the queue or the spool, if there is one."""
        if not self._waiting and self._spool is not None and self._spool.unread:
            await self._read(self._spool)
        return self._next() if self._waiting else None

    async def _done(self, entries: Sequence[Entry], refused: Mapping[str, str]) -> None:
        """Hold records no longer: the store has them, or will never take them, which `refused` says by id."""
        kept = not refused or await self._set_aside(entries, refused)
        self.batch_sizes(len(entries))
        finished = [entry for entry in entries if kept or entry.record.activation_id not in refused]
        for entry in finished:
            entry.tell_safe()
        for entry in entries:
            entry.gone = True
        count = sum(entry.record.activation_id in refused for entry in entries)
        self.refused += count
        self.stored += len(entries) - count
        self.pending_bytes -= sum(entry.size for entry in entries)
        if self._spool is not None:
            for segment, number in Counter(entry.segment for entry in finished).items():
                if segment is not None:
                    self._spool.done(segment, number)
        self._tell()

    async def _set_aside(self, entries: Sequence[Entry], refused: Mapping[str, str]) -> bool:
        """Keep what the store will never take; say whether that was possible: if not, the spool keeps what it has."""
        for activation_id, reason in refused.items():
            logger.error("the store refuses the record of activation %s: %s", activation_id, reason)
        if self._spool is None:
            return True
        records = [entry.record for entry in entries if entry.record.activation_id in refused]
        given = [RefusedRecord(refused[record.activation_id], record) for record in records]
        try:
            await asyncio.to_thread(self._spool.set_aside, given, sync=self._disk)
        except OSError as error:
            logger.error("refused records can't be set aside: %s", error)  # noqa: TRY400 (its place says nothing more)
            return False
        return True

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
