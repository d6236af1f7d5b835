"""Which records go, and when."""

import logging
from collections.abc import Callable
from typing import Final

from invoker.errors import StoreUnavailable
from invoker_sqlite.database import Database
from invoker_sqlite.settings import KeepSettings

logger = logging.getLogger("invoker.sqlite")

_INTERVAL: Final = 60.0
"""Seconds between two looks, unless the last one left something to do."""

_CHUNK: Final = 500
"""Records that one transaction deletes: a few milliseconds in which other writers wait."""

_CHUNK_BYTES: Final = 16 << 20
"""No more are deleted by a transaction that has freed so much, when records are large."""

_CHUNKS: Final = 2
"""Transactions at a time: after a batch of 500, so that pruning is faster than storing."""

_FREE: Final = 4
"""A file of which more than one page in so many is unused gives pages back."""

_PAGES: Final = 500
"""Pages that are given back at a time."""

_OLDEST: Final = """
    SELECT seq, stored, size FROM activations WHERE seq < (SELECT max(seq) FROM activations) ORDER BY seq LIMIT ?
"""
_DELETE: Final = "DELETE FROM activations WHERE seq <= ?"
_UNCOUNT: Final = "UPDATE kept SET bytes = bytes - ?"


class Pruner:
    """Deletes records, the one first that was stored first, a few at a time.

    The newest always stays: its number must not be given to another, which a follower would then never see.
    """

    def __init__(self, database: Database, keep: KeepSettings, clock: Callable[[], float]) -> None:
        self._database = database
        self._keep = keep
        self._clock = clock
        self._last: float | None = None
        """When there was last nothing more to do."""

    async def prune(self) -> None:
        """Delete some of what need not be kept, if it is time to look. Raises nothing: the next look may succeed."""
        now = self._clock()
        if self._last is not None and 0 <= now - self._last < _INTERVAL:  # below 0: the clock was set back
            return
        try:
            done = await self._some(now)
        except StoreUnavailable as error:
            logger.warning("old activation records can't be deleted now: %s", error)
            done = True
        if done:
            self._last = now

    async def _some(self, now: float) -> bool:
        """Delete some; return whether it was all."""
        for _ in range(_CHUNKS):
            if not await self._chunk(now):
                return await self._shrunk()
        return False

    async def _chunk(self, now: float) -> bool:
        """Delete a few records; return whether there may be more."""
        if not self._keep.age and not self._keep.bytes:
            return False
        before = (now - self._keep.age) * 1000 if self._keep.age else 0
        async with self._database.transaction() as transaction:
            ((total,),) = await transaction.run("SELECT bytes FROM kept")
            excess = total - self._keep.bytes if self._keep.bytes else 0
            freed, last, more = 0, None, True
            oldest = await transaction.run(_OLDEST, (_CHUNK,))
            for seq, stored, size in oldest:
                more = freed < excess or stored < before
                if not more or freed >= _CHUNK_BYTES:
                    break
                freed, last = freed + size, seq
            if last is not None:
                await transaction.run(_DELETE, (last,))
                await transaction.run(_UNCOUNT, (freed,))
        return bool(oldest) and more

    async def _shrunk(self) -> bool:
        """Give some unused pages back to the disk if there are many; return whether that was all."""
        ((pages,),) = await self._database.run("PRAGMA page_count")
        ((free,),) = await self._database.run("PRAGMA freelist_count")
        if free * _FREE <= pages or free < _PAGES:
            return True
        await self._database.give_back(_PAGES)
        return False
