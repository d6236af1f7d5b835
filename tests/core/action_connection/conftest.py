"""The connection lives close to the event loop, so its tests run on both kinds."""

from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)
