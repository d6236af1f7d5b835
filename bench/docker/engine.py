"""The engine's API, the shortest way: one kept connection, one call at a time, the standard library. Floors use it."""

import http.client
import json
import os
import socket
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import quote

from invoker_docker.settings import EngineAddress

PATIENCE: Final = 120.0
API: Final = "/v1.41"
_FRAMES: Final = "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"


def default_url() -> str:
    """Return where the engine of this machine listens."""
    return os.environ.get("TEST_DOCKER") or "unix:///var/run/docker.sock"


class EngineRefusal(Exception):
    """The engine said no."""


class _Connection(http.client.HTTPConnection):
    """HTTP to wherever an engine listens."""

    def __init__(self, address: EngineAddress) -> None:
        super().__init__(address.host or "localhost", address.port or None, timeout=PATIENCE)
        self._address = address

    def connect(self) -> None:
        self.sock = opened(self._address)


def opened(address: EngineAddress) -> socket.socket:
    """Connect to an engine."""
    if address.path is None:
        return socket.create_connection((address.host, address.port), PATIENCE)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(address.path)
    return connection


class BareEngine:
    """One connection to an engine; a thread needs its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.address = EngineAddress.parse(url)
        self._connection = _Connection(self.address)

    def __enter__(self) -> Self:
        """Check that it is there."""
        self.ask("GET", "/_ping")
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Call it and return what it says, which must be no error."""
        headers = (
            {} if body is None else {"Content-Type": "application/json" if body[:1] == b"{" else "application/x-tar"}
        )
        self._connection.request(method, API + path, body, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status >= http.client.BAD_REQUEST:
            raise EngineRefusal(f"{method} {path}: {answer.status} {said[:300]!r}")
        return said

    def create(self, name: str, request: Mapping[str, Any]) -> str:
        """Create a container and return its id."""
        return str(json.loads(self.ask("POST", f"/containers/create?name={name}", json.dumps(request).encode()))["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        self.ask("POST", f"/containers/{container}/start")

    def address_of(self, container: str) -> str:
        """Return a container's address on the network it is on."""
        found = json.loads(self.ask("GET", f"/containers/{container}/json"))
        (network,) = found["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def pause(self, container: str) -> None:
        """Freeze a container."""
        self.ask("POST", f"/containers/{container}/pause")

    def unpause(self, container: str) -> None:
        """Let it go on."""
        self.ask("POST", f"/containers/{container}/unpause")

    def remove(self, container: str) -> None:
        """Kill and remove a container."""
        self.ask("DELETE", f"/containers/{container}?force=1&v=1")

    def labelled(self, label: str) -> list[str]:
        """Return the ids of the containers that have a label, `name=value`, in whatever state."""
        found = json.loads(self.ask("GET", f"/containers/json?all=1&filters={filters(label=label)}"))
        return [str(one["Id"]) for one in found]

    def attach(self, container: str) -> socket.socket:
        """Return a connection on which everything comes that a container prints, in frames."""
        connection = opened(self.address)
        path = f"{API}/containers/{container}/attach?stream=1&stdout=1&stderr=1"
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: {self.address.authority}\r\n{_FRAMES}".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)  # what follows the head is the container's
            if not byte:
                raise RuntimeError(f"attach: {head!r}")
            head += byte
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"attach: {head!r}")
        return connection


def filters(**given: str) -> str:
    """Return filters as a query has them."""
    return quote(json.dumps({name: [value] for name, value in given.items()}))
