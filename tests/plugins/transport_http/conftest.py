"""The listeners live close to the event loop, so their tests run on both kinds; and both listeners do the same."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.plugins.transport_http.certificates import Certificates, issued


def _uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": _uvloop}


@pytest.fixture(params=["httptools", "aiohttp"])
def listener(request: pytest.FixtureRequest) -> str:
    """The name of a data listener."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Files of an authority, a server and a caller."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    return issued(folder)
