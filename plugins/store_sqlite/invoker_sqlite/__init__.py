"""Functions and activation records in one SQLite file."""

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
    """Provide the functions; what is yielded is a `FunctionCatalog` too."""
    from invoker_sqlite.database import opened  # noqa: PLC0415 (aiosqlite loads only when used)
    from invoker_sqlite.functions import SqliteFunctions  # noqa: PLC0415 (same)

    async with opened(path_of(settings), settings[SqliteSettings].busy_timeout) as database:
        yield SqliteFunctions(database)


@hookimpl
@asynccontextmanager
async def open_activation_store(settings: Settings) -> AsyncIterator[ActivationStore]:
    """Provide the activation records; what is yielded is an `ActivationReader` too."""
    from invoker_sqlite.activations import SqliteActivations  # noqa: PLC0415 (aiosqlite loads only when used)
    from invoker_sqlite.database import opened  # noqa: PLC0415 (same)

    section = settings[SqliteSettings]
    async with opened(path_of(settings), section.busy_timeout) as database:
        yield SqliteActivations(database, section.keep)
