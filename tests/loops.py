"""Both kinds of event loop, for tests of what lives close to one: a `conftest.py` imports the hook."""

import asyncio
from collections.abc import Callable, Mapping

import pytest


def _uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on each of them."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": _uvloop}
