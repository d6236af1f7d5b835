"""The runtime lives close to the event loop, so its tests run on both kinds; those of the proxies have none."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from pathlib import Path

import pytest

from invoker import Settings
from invoker_process.settings import ProcessSettings
from invoker_process.warden.places import PREFIX, remaining


def _uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": _uvloop}


@pytest.fixture(params=["auto", "off"])
def cgroup(request: pytest.FixtureRequest) -> str:
    """Both ways to limit memory; where no control group can be made, `auto` samples as well."""
    way: str = request.param
    return way


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A runtime that keeps everything in the test's own directory."""
    return Settings.of(ProcessSettings(work_dir=tmp_path))


@pytest.fixture
def left(tmp_path: Path) -> Callable[[], Awaitable[Collection[object]]]:
    """Look for processes and directories of containers, without asking the runtime."""

    async def processes_and_directories() -> Collection[object]:
        return list(_remains(tmp_path))

    return processes_and_directories


def _remains(base: Path) -> Iterator[object]:
    for place in base.glob(f"{PREFIX}*"):
        yield from remaining(place)
        yield from (path for path in place.iterdir() if path.is_dir())
