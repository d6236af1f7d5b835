"""One batch of records on its way into the store: tried until the store has all of it, or will never take the rest."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from invoker.config import RecordingSettings
from invoker.contracts import ActivationStore
from invoker.entities.activation import ActivationRecord
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.recording.spool import Segment

logger = logging.getLogger("invoker.recording")

_AROUND: Final = 512
"""Bytes that a record counts besides its document."""
_SUSPICIOUS: Final = 3
"""Failures of one batch after which one record of it is taken to be to blame, if the store takes others."""


class Entry:
    """A record on its way."""

    __slots__ = ("record", "safe", "segment", "size")

    def __init__(self, record: ActivationRecord, segment: Segment | None = None) -> None:
        self.record = record
        self.size = _AROUND + len(record.fields) + len(record.logs)
        self.segment = segment
        """Where the spool has it."""
        self.safe: asyncio.Future[None] | None = None
        """Done when it is as safe as was asked for, or stored."""

    def is_safe(self) -> None:
        """Let who waits for that go on."""
        if self.safe is not None and not self.safe.done():
            self.safe.set_result(None)


class StoreWriter:
    """Writes one batch at a time. Each of its records is `done` once: stored, or refused for good."""

    def __init__(
        self,
        store: ActivationStore,
        settings: RecordingSettings,
        done: Callable[[Sequence[Entry], Mapping[str, str]], None],
        another: Callable[[], ActivationRecord | None],
    ) -> None:
        """`done` is told of records, and of those that were refused by activation id, and why; `another` gives one."""
        self._store = store
        self._settings = settings
        self._done = done
        self._another = another
        self._witness: ActivationRecord | None = None
        """A record that the store has: to ask again whether it takes records, which changes nothing."""
        self.batch: list[Entry] = []
        """What is being written now."""
        self.failing = False
        """The last write did not succeed."""

    async def write(self, batch: Sequence[Entry]) -> None:
        """Write a batch, again and again until the store has all of it, or will never take what is left."""
        self.batch = list(batch)
        pause: float = self._settings.first_retry
        tries = 0
        while self.batch:
            try:
                await self._put(self.batch)
            except Exception as error:  # noqa: BLE001 (a plugin's failure must cost no record)
                tries += 1
                self._report(error, pause)
                if tries >= _SUSPICIOUS and await self._alive():
                    await self._isolate(self.batch, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._settings.last_retry)
        if self.failing:
            logger.info("the activation store works again")
        self.failing = False

    async def _put(self, entries: Sequence[Entry]) -> None:
        """Write records, those of the batch or some of them.

        Raises:
            Exception: the store failed; some may be stored.
        """
        refused: Mapping[str, str] = {}
        try:
            await self._offer([entry.record for entry in entries])
        except RecordsRefused as error:
            refused = error.refused
        for entry in entries:
            if entry.record.activation_id not in refused:
                self._witness = entry.record
        self._forget(entries, refused)

    async def _offer(self, records: Sequence[ActivationRecord]) -> None:
        limit: float = self._settings.write_timeout
        try:
            async with asyncio.timeout(limit):
                await self._store.put_many(records)
        except TimeoutError as error:
            raise StoreUnavailable(f"no answer in {limit:g} s") from error

    async def _alive(self) -> bool:
        """Say whether the store takes a record that is most likely not to blame: one that it has, or any."""
        others = [random.choice(self.batch).record, self._another() or self.batch[-1].record]  # noqa: S311
        try:
            await self._offer([self._witness or random.choice(others)])  # noqa: S311 (the next time it is another)
        except RecordsRefused:
            return True
        except Exception:  # noqa: BLE001 (see `write`)
            return False
        return True

    async def _isolate(self, entries: Sequence[Entry], error: Exception) -> None:
        """Split what the store failed on, though it takes others, until the culprits are alone; these are refused."""
        if len(entries) == 1:
            self._forget(entries, {entries[0].record.activation_id: f"{type(error).__name__}: {error}"})
            return
        middle = len(entries) // 2
        for half in (entries[:middle], entries[middle:]):
            try:
                await self._put(half)
            except Exception as failure:  # noqa: BLE001 (see `write`)
                if not await self._alive():  # it is down again: nobody is to blame
                    return
                await self._isolate(half, failure)

    def _forget(self, entries: Sequence[Entry], refused: Mapping[str, str]) -> None:
        gone = set(map(id, entries))
        self.batch = [entry for entry in self.batch if id(entry) not in gone]
        self._done(entries, refused)

    def _report(self, error: Exception, pause: float) -> None:
        """Log a failure: with its traceback if the store plugin broke rather than said so."""
        unexpected = None if isinstance(error, StoreUnavailable) else error
        if not self.failing or unexpected:
            logger.warning(
                "the activation store takes no records (%s); next try in %g s", error, pause, exc_info=unexpected
            )
        self.failing = True
