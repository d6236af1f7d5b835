"""A container engine, past the invoker: what there is on it of one identity, and what can be done to that."""

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from typing import IO, Any, cast
from urllib.parse import quote, urlencode

from tests.end_to_end.log import Log
from tests.services.docker import EngineConnection

OWNER = "functions-invoker.owner"
PATIENCE = 30.0


class Engine:
    """What one invoker has on an engine. Its methods block; an event loop calls them in a thread."""

    def __init__(self, url: str, owner: str) -> None:
        self.url = url
        self.owner = owner
        """The identity that labels the containers."""

    def ask(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """Ask it something; an answer that is none fails the test."""
        status, said = self.asked(method, path, body, **query)
        assert status < HTTPStatus.BAD_REQUEST, said
        return said

    def asked(self, method: str, path: str, body: object = None, **query: str) -> tuple[int, Any]:
        """Ask it something that it may refuse."""
        with closing(EngineConnection(self.url)) as connection:
            sent = None if body is None else json.dumps(body)
            connection.request(method, _target(path, query), sent, {"Content-Type": "application/json"})
            response = connection.getresponse()
            said = response.read()
        try:
            return response.status, json.loads(said) if said.strip() else None
        except ValueError:
            return response.status, said

    def containers(self) -> dict[str, str]:
        """Return the names of the invoker's containers, each with its state: `running`, `paused`, `exited`, …"""
        found = self.ask("GET", "/containers/json", all="1", filters=self._filters)
        return {name.removeprefix("/"): one["State"] for one in found for name in one["Names"]}

    def inspect(self, container: str) -> Any:
        """Return what the engine says about a container."""
        return self.ask("GET", f"/containers/{quote(container)}/json")

    def kill(self, container: str) -> None:
        """End a container's first process at once, as `docker kill` does."""
        self.ask("POST", f"/containers/{quote(container)}/kill")

    def remove(self, container: str) -> int:
        """Remove a container, whatever it does; return the status."""
        return self.asked("DELETE", f"/containers/{quote(container)}", force="1", v="1")[0]

    def gateway(self, network: str) -> str:
        """Return the address that containers on a network know this machine by."""
        address: str = self.ask("GET", f"/networks/{network}")["IPAM"]["Config"][0]["Gateway"]
        return address

    async def is_empty(self) -> None:
        """Wait until nothing of the invoker's is left."""
        async with asyncio.timeout(PATIENCE):
            while await asyncio.to_thread(self.containers):
                pass

    @contextmanager
    def events(self) -> Iterator["Events"]:
        """Listen to what happens to the invoker's containers from now on."""
        with closing(EngineConnection(self.url)) as connection:
            connection.request("GET", _target("/events", {"filters": self._filters, "since": f"{time.time():.9f}"}))
            response = connection.getresponse()
            assert response.status == HTTPStatus.OK
            assert connection.sock is not None
            connection.sock.settimeout(None)
            events = Events(cast("IO[bytes]", _lines(response)))
            try:
                yield events
            finally:
                connection.sock.shutdown(socket.SHUT_RDWR)
                events.join()

    @property
    def _filters(self) -> str:
        return json.dumps({"label": [f"{OWNER}={self.owner}"]})


class Events(Log):
    """What happens to containers, read as it happens."""

    def wait_for(self, action: str, name: str = "") -> str:
        """Wait until a container was `create`d, `start`ed, …; return its name, which begins with `name`."""

        def wanted(event: dict[str, Any]) -> bool:
            return event.get("Action") == action and _name(event).startswith(name)

        return _name(self.wait(wanted, PATIENCE))

    def count(self, action: str) -> int:
        """Return how often something has happened so far."""
        return sum(event.get("Action") == action for event in self.lines)


def _name(event: Mapping[str, Any]) -> str:
    name: str = event["Actor"]["Attributes"]["name"]
    return name


def _target(path: str, query: Mapping[str, str]) -> str:
    return f"/v1.41{path}?{urlencode(query)}"


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Read lines until whoever listens has had enough."""
    with suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
        yield from response
