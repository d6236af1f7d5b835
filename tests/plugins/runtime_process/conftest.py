"""The runtime lives close to the event loop, so its tests run on both kinds; those of the proxies have none."""

from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path

import pytest

from invoker import Settings
from invoker_process.directories import PREFIX, remaining
from invoker_process.settings import ProcessSettings
from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)


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
    for path in base.glob(f"{PREFIX}*"):
        yield from remaining(path)
        yield from (each for each in path.iterdir() if each.is_dir())
