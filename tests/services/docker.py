"""Container engines, as TEST_DOCKER and TEST_PODMAN name them: Docker's, and podman's Docker-compatible service."""

import http.client
import os
import socket
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest

Absent = Callable[[str], None]


@pytest.fixture(scope="session")
def docker(absent: Absent) -> str:
    """URL of a Docker engine that answers."""
    return engine_named("TEST_DOCKER", absent)


@pytest.fixture(scope="session")
def podman(absent: Absent) -> str:
    """URL of a podman service that answers."""
    return engine_named("TEST_PODMAN", absent)


@pytest.fixture(scope="session", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> str:
    """URL of each of the two, one after the other."""
    url: str = request.getfixturevalue(request.param)
    return url


def engine_named(variable: str, absent: Absent) -> str:
    """Return what an environment variable names. One that is named must answer; `.ci/services` can start both."""
    url = os.environ.get(variable, "")
    if not url:
        absent(f"{variable} names no engine")
    try:
        status = pinged(url)
    except OSError as error:
        pytest.fail(f"{variable} names {url}, which doesn't answer: {error}")
    assert status == HTTPStatus.OK, f"{variable} names {url}, which is no container engine"
    return url


def pinged(url: str) -> int:
    """Ask an engine whether it lives; return the status it answers with."""
    with closing(EngineConnection(url)) as connection:
        connection.request("GET", "/_ping")
        return connection.getresponse().status


class EngineConnection(http.client.HTTPConnection):
    """HTTP to an engine, past everything that is tested."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._path = parts.path if parts.scheme == "unix" else None
        super().__init__(parts.hostname or "localhost", parts.port, timeout=30)

    def connect(self) -> None:
        """Connect to a socket of either kind."""
        if self._path is None:
            super().connect()
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
