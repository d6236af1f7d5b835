"""One proxy of each language for every test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plugins.runtime_process.proxies.proxy import StartedProxy, command


@pytest.fixture
def start(language: str, absent: Callable[[str], None]) -> list[str]:
    """How to start a proxy. Without Node.js its half is skipped; with `--all-services` it fails."""
    found = command(language)
    if found is None:
        absent("there is no `node` on PATH")
    assert found is not None
    return found


@pytest.fixture(params=["python", "nodejs"])
def language(request: pytest.FixtureRequest) -> str:
    """The language; a test of one only overrides this by a parameter."""
    return str(request.param)


@pytest.fixture
def proxy(language: str, start: list[str], tmp_path: Path) -> Iterator[StartedProxy]:
    """A proxy that has just been started."""
    with StartedProxy(language, start, tmp_path) as proxy:
        yield proxy
