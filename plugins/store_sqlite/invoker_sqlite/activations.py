"""Activation records, one row each."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import msgspec

from invoker.contracts import ActivationReader, ActivationStore
from invoker.entities.activation import Activation
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker_sqlite.database import UNFIT, Database
from invoker_sqlite.pruning import Pruner
from invoker_sqlite.records import COLUMNS, COLUMNS_WITHOUT_LOGS, INSERT, activation_of, packed, row_of
from invoker_sqlite.settings import KeepSettings

_POLL: Final = 0.25
"""Seconds between two looks for what other processes have stored."""

_AT_ONCE: Final = 100
"""Records that are read in one look."""

_COUNT: Final = """
    UPDATE kept SET
        bytes = bytes + (SELECT coalesce(sum(size), 0) FROM activations WHERE seq > kept.counted),
        counted = (SELECT coalesce(max(seq), 0) FROM activations)
"""
_NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM activations"
_GET: Final = f"SELECT {COLUMNS} FROM activations WHERE activation_id = ? AND namespace = ?"  # noqa: S608 (a constant)
_RECENT: Final = f"""
    SELECT {COLUMNS_WITHOUT_LOGS} FROM activations WHERE namespace = ?
    ORDER BY start DESC, seq DESC LIMIT ?
"""  # noqa: S608 (a constant)
_RECENT_OF: Final = f"""
    SELECT {COLUMNS_WITHOUT_LOGS} FROM activations WHERE namespace = ? AND path = ?
    ORDER BY start DESC, seq DESC LIMIT ?
"""  # noqa: S608 (a constant)
_BETWEEN: Final = f"""
    SELECT seq, {COLUMNS} FROM activations NOT INDEXED WHERE seq > ? AND seq <= ? AND namespace = ?
    ORDER BY seq LIMIT ?
"""  # noqa: S608 (a constant)


class SqliteActivations(ActivationStore, ActivationReader):
    """An `ActivationStore` and `ActivationReader`. `clock` gives Unix seconds."""

    def __init__(self, database: Database, keep: KeepSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._pruner = Pruner(database, keep, clock)

    @property
    def reader(self) -> ActivationReader:
        """See `ActivationStore.reader`."""
        return self

    async def put_many(self, batch: Sequence[Activation]) -> None:
        """See `ActivationStore.put_many`. Refused is what SQLite can't hold, above all a record beyond 1 GB."""
        if not batch:
            return
        stored = int(self._clock() * 1000)
        refused: dict[str, str] = {}
        try:
            async with self._database.transaction() as transaction:
                await transaction.run_many(INSERT, (row_of(activation, stored) for activation in batch))
                await transaction.run(_COUNT)
        except UNFIT:
            refused = await self._put_singly(batch, stored)
        await self._pruner.prune()
        if refused:
            raise RecordsRefused(refused)

    async def _put_singly(self, batch: Sequence[Activation], stored: int) -> dict[str, str]:
        """Put what can be put; return the others and what is wrong with them."""
        refused: dict[str, str] = {}
        async with self._database.transaction() as transaction:
            for activation in batch:
                try:
                    await transaction.run(INSERT, row_of(activation, stored))
                except UNFIT as error:
                    refused[activation.activation_id] = str(error)
            await transaction.run(_COUNT)
        return refused

    async def get(self, namespace: str, activation_id: str) -> Activation | None:
        """See `ActivationReader.get`."""
        rows = await self._database.run(_GET, (packed(activation_id), namespace))
        return self._activation(rows[0]) if rows else None

    async def recent(self, namespace: str, *, limit: int, action: str | None = None) -> Sequence[Activation]:
        """See `ActivationReader.recent`."""
        if action is None:
            rows = await self._database.run(_RECENT, (namespace, limit))
        else:
            rows = await self._database.run(_RECENT_OF, (namespace, action, limit))
        return [self._activation(row) for row in rows]

    def follow(self, namespace: str) -> "Following":
        """See `ActivationReader.follow`. It begins when it is first waited for."""
        return Following(self, namespace)

    async def newest(self) -> int:
        """Return the number of the record that was stored last, of any namespace; 0 if there is none."""
        ((newest,),) = await self._database.run(_NEWEST)
        return int(newest)

    async def between(self, after: int, last: int, namespace: str) -> list[tuple[int, Activation]]:
        """Return the first records of a namespace after one number and up to another, with their numbers."""
        rows = await self._database.run(_BETWEEN, (after, last, namespace, _AT_ONCE))
        return [(row[0], self._activation(row[1:])) for row in rows]

    def _activation(self, row: tuple[Any, ...]) -> Activation:
        try:
            return activation_of(row)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"{self._database.path}: a record can't be read: {error}") from error


class Following:
    """The records of a namespace as they are stored, by whatever process."""

    def __init__(self, activations: SqliteActivations, namespace: str) -> None:
        self._activations = activations
        self._namespace = namespace
        self._seen: int | None = None
        """The number of the last record that was looked at."""
        self._found: deque[Activation] = deque()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Activation:
        """Wait for the next record."""
        if self._seen is None:
            self._seen = await self._activations.newest()
        while not self._found:
            self._seen = await self._look(self._seen)
            if not self._found:
                await asyncio.sleep(_POLL)
        return self._found.popleft()

    async def _look(self, seen: int) -> int:
        """Find what is there; return the number of the last record that need not be looked at again."""
        newest = await self._activations.newest()
        if newest == seen:
            return seen
        found = await self._activations.between(seen, newest, self._namespace)
        self._found.extend(activation for _, activation in found)
        return found[-1][0] if len(found) == _AT_ONCE else newest
