"""Records between the answer and the store."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from invoker.config import RecordingSettings
from invoker.contracts import ActivationStore
from invoker.entities.activation import Activation
from invoker.errors import RecordsRefused, StoreUnavailable

logger = logging.getLogger("invoker.recording")

_AROUND = 512
"""Bytes that a record counts besides its response and its logs."""


@asynccontextmanager
async def recording(store: ActivationStore, settings: RecordingSettings) -> AsyncIterator["Recorder"]:
    """Run a recorder; leaving stores what waits, for at most `settings.grace` seconds."""
    recorder = Recorder(store, settings)
    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(recorder.write_until_closed(), name="recorder")
        try:
            yield recorder
        finally:  # drain inside the group: a group that is left by an exception cancels its tasks
            recorder.close()
            await asyncio.wait({writer}, timeout=settings.grace)
            writer.cancel()  # does nothing to a writer that is done
            recorder.give_up()


class Recorder:
    """Takes records at once and writes them in batches, in order, until the store has them.

    Nothing is dropped while it runs: when `full`, the door takes no further message.
    """

    def __init__(self, store: ActivationStore, settings: RecordingSettings) -> None:
        self._store = store
        self._settings = settings
        self._waiting: deque[tuple[Activation, int]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self._batch: list[Activation] = []
        """What is being written now; may be tried again."""
        self.pending_bytes = 0
        """Of all records that are not stored yet."""
        self.stored = 0
        self.refused = 0
        """Records that the store will never take."""
        self.lost = 0
        """Records that were not stored when stopping ran out of time."""
        self.failing = False
        """The last write did not succeed."""
        self.batch_sizes: Callable[[int], None] = _nobody
        """Told the size of each batch that was stored."""
        self._listeners: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        """Whether no more records can be held."""
        return self.pending_bytes >= self._settings.max_bytes

    @property
    def pending(self) -> int:
        """Records that are not stored yet."""
        return len(self._waiting) + len(self._batch)

    def when_stored(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever records were stored, so that more can be held."""
        self._listeners.append(listener)

    def submit(self, activation: Activation) -> None:
        """Take a record; never waits. Who calls it may acknowledge the activation afterwards."""
        size = _AROUND + memoryview(activation.outcome.response).nbytes + sum(map(len, activation.logs))
        self._waiting.append((activation, size))
        self.pending_bytes += size
        self._arrived.set()

    def close(self) -> None:
        """Write what is there without waiting for more; the writer then ends."""
        self._closed = True
        self._arrived.set()

    def give_up(self) -> None:
        """Count and report what could not be stored."""
        self.lost = self.pending
        if self.lost:
            logger.error("%d activation records could not be stored and are lost", self.lost)

    async def write_until_closed(self) -> None:
        """Write batch after batch; returns when it is closed and all is stored."""
        while True:
            while not self._waiting:
                if self._closed:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            await self._let_a_batch_gather()
            size = self._cut_batch()
            await self._write()
            self.pending_bytes -= size
            self._batch = []
            for listener in self._listeners:
                listener()

    async def _let_a_batch_gather(self) -> None:
        """Wait `flush_interval` for company, unless a whole batch is there or it is time to leave."""
        if self._closed or len(self._waiting) >= self._settings.batch_size:
            return
        await asyncio.sleep(self._settings.flush_interval)

    def _cut_batch(self) -> int:
        """Move records from the queue into the batch; return their bytes."""
        total = 0
        while self._waiting and len(self._batch) < self._settings.batch_size:
            activation, size = self._waiting[0]
            if self._batch and total + size > self._settings.batch_bytes:
                break
            self._waiting.popleft()
            self._batch.append(activation)
            total += size
        return total

    async def _write(self) -> None:
        """Write the batch, again and again until the store has it or has refused it for good."""
        pause: float = self._settings.first_retry
        while True:
            try:
                await self._put()
            except RecordsRefused as error:
                self._refuse(error)
                break
            except Exception as error:  # noqa: BLE001 (a plugin's failure must cost no record)
                self._report(error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._settings.last_retry)
            else:
                self.stored += len(self._batch)
                self.batch_sizes(len(self._batch))
                break
        if self.failing:
            logger.info("the activation store works again")
        self.failing = False

    async def _put(self) -> None:
        limit: float = self._settings.write_timeout
        try:
            async with asyncio.timeout(limit):
                await self._store.put_many(self._batch)
        except TimeoutError as error:
            raise StoreUnavailable(f"no answer in {limit:g} s") from error

    def _refuse(self, error: RecordsRefused) -> None:
        self.refused += len(error.refused)
        self.stored += len(self._batch) - len(error.refused)
        for activation_id, reason in error.refused.items():
            logger.error("the store refuses the record of activation %s: %s", activation_id, reason)

    def _report(self, error: Exception, pause: float) -> None:
        """Log a failure: with its traceback if the store plugin broke rather than said so."""
        unexpected = None if isinstance(error, StoreUnavailable) else error
        if not self.failing or unexpected:
            logger.warning(
                "the activation store takes no records (%s); %d wait, next try in %g s",
                error,
                self.pending,
                pause,
                exc_info=unexpected,
            )
        self.failing = True


def _nobody(size: int) -> None:
    """Nobody wants to know the size of batches."""
