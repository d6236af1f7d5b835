"""Counting the containers of an engine by what it says itself: each creation and each removal is an event."""

import contextlib
import json
import socket
import threading
from typing import Final, Self

from bench.docker.engine import API, BareEngine, filters, opened

_CREATED: Final = "create"
_DESTROYED: Final = "destroy"


class ContainerCensus:
    """Counts the containers with a label, from entering to leaving; a thread reads the events."""

    def __init__(self, engine: BareEngine, label: str) -> None:
        self.created = 0
        """How many were created."""
        self.most = 0
        """How many there were at one time, from their creation until they were gone."""
        self._label = label
        self._engine = engine
        self._thread = threading.Thread(target=self._listen, name="census", daemon=True)

    def __enter__(self) -> Self:
        """Begin to count."""
        self._connection = opened(self._engine.address)
        self._connection.settimeout(None)
        path = f"{API}/events?filters={filters(label=self._label)}"
        self._connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self._file = self._connection.makefile("rb")
        while self._file.readline() not in {b"\r\n", b""}:
            pass  # the engine has read the request: whatever happens now, it tells
        self._there = set(self._engine.labelled(self._label))
        self.most = len(self._there)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._file.close()
        self._connection.close()

    def _listen(self) -> None:
        for line in self._file:  # chunked: an event a line, and lines with lengths between them
            if not line.startswith(b"{"):
                continue
            event = json.loads(line)
            if event.get("Action") == _CREATED:
                self.created += 1
                self._there.add(event["id"])
                self.most = max(self.most, len(self._there))
            elif event.get("Action") == _DESTROYED:
                self._there.discard(event["id"])
