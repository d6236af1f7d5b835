"""The listener lives close to the event loop, so its tests run on both kinds."""

from pathlib import Path

import pytest

from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)
from tests.plugins.transport_http.certificates import Certificates, issued


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Files of an authority, a server and a caller."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    return issued(folder)
