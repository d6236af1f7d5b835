"""One batch of records on its way into the store: tried until the store has all of it, or will never take the rest."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from invoker.config import RecordingSettings
from invoker.contracts import ActivationStore
from invoker.entities.activation import ActivationRecord
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.recording.segment import Entry

logger = logging.getLogger("invoker.recording")

_SUSPICIOUS: Final = 3
"""Failures of one batch after which records of it are taken to be to blame, if the store takes others."""
_CERTAIN: Final = 10
"""Failures after which that may be all of it."""


class StoreWriter:
    """Writes one batch at a time. Each of its records is `done` once: stored, or refused for good."""

    def __init__(
        self,
        store: ActivationStore,
        settings: RecordingSettings,
        done: Callable[[Sequence[Entry], Mapping[str, str]], Awaitable[None]],
        another: Callable[[], Awaitable[Entry | None]],
    ) -> None:
        """`done` is told of records, and, by activation id, why some were refused; `another` gives the next, if any."""
        self._store = store
        self._settings = settings
        self._done = done
        self._another = another
        self._witness: ActivationRecord | None = None
        """A record that the store has: to put it again asks whether it takes records, and changes nothing."""
        self._asked: float | None = None
        """When the call began that the store has not answered yet."""
        self.batch: list[Entry] = []
        """What is being written now."""
        self.failing = False
        """The last write did not succeed."""

    @property
    def silence(self) -> float:
        """Seconds for which the store has not answered; 0 if nothing is asked of it."""
        return 0.0 if self._asked is None else time.monotonic() - self._asked

    async def write(self, batch: Sequence[Entry]) -> None:
        """Write a batch, again and again until the store has all of it, or will never take what is left."""
        self.batch = list(batch)
        pause: float = self._settings.first_retry
        failures = 0
        while self.batch:
            try:
                await self._put(self.batch)
            except Exception as error:  # noqa: BLE001 (a plugin's failure must cost no record)
                failures += 1
                self._report(error, pause)
                if failures >= _SUSPICIOUS and await self._works():
                    await self._isolate(certain=failures >= _CERTAIN)
                if self.batch:
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
        kept = (entry.record for entry in entries if entry.record.activation_id not in refused)
        self._witness = next(kept, self._witness)
        await self._forget(entries, refused)

    async def _offer(self, records: Sequence[ActivationRecord]) -> None:
        limit: float = self._settings.write_timeout
        self._asked = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                await self._store.put_many(records)
        except TimeoutError as error:
            raise StoreUnavailable(f"no answer in {limit:g} s") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise StoreUnavailable("it has cancelled itself") from error  # which must not end whoever writes
        finally:
            self._asked = None

    async def _works(self) -> bool:
        """Say whether the store takes records that are not to blame: none, and one that it has."""
        try:
            await self._offer([])
            if self._witness is not None:
                await self._offer([self._witness])
        except RecordsRefused:
            return True
        except Exception:  # noqa: BLE001 (see `write`)
            return False
        return True

    async def _isolate(self, *, certain: bool) -> None:
        """Split what the store failed on, though it works, until each culprit is alone; these are refused.

        Who is the first of this life, or one of several that all are culprits, waits for another to be stored.
        """
        if len(self.batch) < self._settings.batch_size and (another := await self._another()):
            self.batch.append(another)
        size, parts = len(self.batch), [self.batch]
        culprits: dict[Entry, str] = {}
        while parts:
            part = parts.pop()
            try:
                await self._put(part)
            except Exception as error:  # noqa: BLE001 (see `write`)
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += (part[middle:], part[:middle])
                elif await self._works():
                    culprits[part[0]] = f"{type(error).__name__}: {error}"
                else:  # it is down again: nobody is to blame
                    return
        if len(culprits) < size or (self._witness is not None and (certain or size == 1)):
            await self._forget(list(culprits), {one.record.activation_id: why for one, why in culprits.items()})

    async def _forget(self, entries: Sequence[Entry], refused: Mapping[str, str]) -> None:
        await self._done(entries, refused)
        self.batch = [entry for entry in self.batch if not entry.gone]

    def _report(self, error: Exception, pause: float) -> None:
        """Log a failure: with its traceback if the store plugin broke rather than said so."""
        unexpected = None if isinstance(error, StoreUnavailable) else error
        if not self.failing or unexpected:
            logger.warning(
                "the activation store takes no records (%s); next try in %g s", error, pause, exc_info=unexpected
            )
        self.failing = True
