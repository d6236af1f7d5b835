"""Functions and activation records in one SQLite file.

Each store has a connection of its own. With one for both, a function was fetched in 39 to 178 ms while batches of 500
records were being written, in place of 0.3 to 0.6: SQLite lets a reader pass a writer, a shared thread doesn't.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invoker import Settings, SettingsSection, hookimpl
from invoker.contracts import ActivationStore, FunctionStore
from invoker_sqlite.settings import SECTION, SqliteSettings, path_of


@hookimpl
def settings_section() -> SettingsSection:
    """Describe `[sqlite]`."""
    return SECTION


@hookimpl
@asynccontextmanager
async def open_function_store(settings: Settings) -> AsyncIterator[FunctionStore]:
    """Provide the functions."""
    from invoker_sqlite.database import opened  # noqa: PLC0415 (SQLite loads only when used)
    from invoker_sqlite.functions import SqliteFunctions  # noqa: PLC0415 (same)

    async with opened(path_of(settings), settings[SqliteSettings].busy_timeout, "actions") as database:
        yield SqliteFunctions(database)


@hookimpl
@asynccontextmanager
async def open_activation_store(settings: Settings) -> AsyncIterator[ActivationStore]:
    """Provide the activation records."""
    from invoker_sqlite.activations import SqliteActivations, kept_in  # noqa: PLC0415 (SQLite loads only when used)
    from invoker_sqlite.database import opened  # noqa: PLC0415 (same)

    section = settings[SqliteSettings]
    async with opened(path_of(settings), section.busy_timeout, "activation records") as database:
        yield SqliteActivations(database, section.keep, await database.run(kept_in))
