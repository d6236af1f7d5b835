"""The listeners live close to the event loop, so their tests run on both kinds; and both listeners do the same."""

from pathlib import Path

import pytest

from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)
from tests.plugins.transport_http.certificates import Certificates, issued


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
