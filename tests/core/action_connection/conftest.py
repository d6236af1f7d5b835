"""The connection lives close to the event loop, so its tests run on both kinds."""

import tempfile
from collections.abc import Iterator

import pytest

from tests.core.action_connection import peer
from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)


@pytest.fixture(params=["tcp", "unix"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the peer serves on."""
    with tempfile.TemporaryDirectory() as folder:  # with a path that is short enough for a socket
        if request.param == "unix":
            monkeypatch.setattr(peer, "unix_path", f"{folder}/socket")
        yield request.param
