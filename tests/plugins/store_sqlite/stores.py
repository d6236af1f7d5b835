"""A store of records on a file, with a clock of the test's own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from invoker.entities.activation import Activation
from invoker_sqlite.activations import SqliteActivations, kept_in
from invoker_sqlite.database import Database, opened
from invoker_sqlite.settings import KeepSettings

DAY = 86400.0


class Clock:
    """Unix seconds, as a test wants them."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def activations(
    path: Path, *, clock: Clock | None = None, keep: KeepSettings | None = None
) -> AsyncIterator[SqliteActivations]:
    async with opened(path, 5) as database:
        yield SqliteActivations(database, keep or KeepSettings(), await database.run(kept_in), clock=clock or Clock())


def inside(store: SqliteActivations) -> Database:
    """What only tests look at."""
    return store._database


async def rows(database: Database, sql: str) -> list[Any]:
    """Run a statement of the test's own."""
    return await database.run(lambda connection: connection.execute(sql).fetchall())


async def ids(store: SqliteActivations, namespace: str = "guest") -> list[str]:
    return [each.activation_id for each in await store.recent(namespace, limit=10_000)]


def ids_of(batch: Sequence[Activation]) -> list[str]:
    """Newest first."""
    return [each.activation_id for each in reversed(batch)]
