"""One proxy of each language for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.runtime_process.proxies.proxy import Proxy, command


@pytest.fixture
def start(language: str, request: pytest.FixtureRequest) -> list[str]:
    """How to start a proxy. Without Node.js its half is skipped; with `--all-services` it fails."""
    found = command(language)
    if found is None:
        absent = pytest.fail if request.config.getoption("--all-services", default=False) else pytest.skip
        absent("there is no `node` here, so its action proxy can't be tested")
    return found


@pytest.fixture(params=["python", "nodejs"])
def language(request: pytest.FixtureRequest) -> str:
    """The language; a test of one only overrides this by a parameter."""
    return str(request.param)


@pytest.fixture
def proxy(language: str, start: list[str], tmp_path: Path) -> Iterator[Proxy]:
    """A proxy that has just been started."""
    with Proxy(language, start, tmp_path) as proxy:
        yield proxy
