"""Logs from containers' own output: no log driver, no files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from invoker import Settings, hookimpl
from invoker.config import LogsSettings, RolesSettings
from invoker.contracts import LogExtractor
from invoker_attached_logs.follower import AttachedLogs


@hookimpl
@asynccontextmanager
async def open_log_extractor(settings: Settings) -> AsyncIterator[LogExtractor]:
    """Provide the extractor. It holds nothing, so there is nothing to give back."""
    yield AttachedLogs(settings[RolesSettings].compat, timeout=settings[LogsSettings].timeout)
