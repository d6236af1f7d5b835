"""What the invoker is compared with: action proxies called directly, and a bare relay in front of them."""

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import httptools

from bench import machine
from bench.messages import init
from invoker.entities.function import Function
from invoker_process.runtime import PROXIES

PATIENCE: Final = 60.0
_ENVIRONMENT: Final = {"PATH": os.defpath, "LANG": "C.UTF-8"}
"""Nothing of ours."""
_MUCH: Final = 1 << 16


def proxy_command(interpreter: Path, family: str = "python") -> list[str]:
    """Return how the runtime starts a proxy, but for the descriptor."""
    options = ["-I", "-S"] if family == "python" else []
    file = {"python": "python.py", "nodejs": "nodejs.js"}[family]
    return [str(interpreter), *options, str(PROXIES / file), "--watch-stdin"]


class Proxy:
    """One action proxy, started the shortest way: a listening socket passed on, fork, exec."""

    def __init__(self, command: Sequence[str], output: int) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            self.port = listener.getsockname()[1]
            with machine.pinned(machine.LOAD_CORE):
                self._process = subprocess.Popen(
                    [*command, "--fd", str(listener.fileno())],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    pass_fds=(listener.fileno(),),
                    env=_ENVIRONMENT,
                    start_new_session=True,
                )

    def initialise(self, function: Function) -> None:
        """Send `/init`."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            ask(connection, init(function))

    def close(self) -> None:
        """End it: it leaves with its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)


class Proxies:
    """An initialised proxy for each function; what they print is read by a thread, on the invoker's core."""

    def __init__(self, command: Sequence[str], functions: Sequence[Function]) -> None:
        self._command = command
        self._functions = functions
        self._started: list[Proxy] = []

    def __enter__(self) -> Self:
        """Start them."""
        self._output, writable = os.pipe()
        self._reader = threading.Thread(target=self._drain, name="proxies' output", daemon=True)
        self._reader.start()
        try:
            self._started = [Proxy(self._command, writable) for _ in self._functions]
        finally:
            os.close(writable)
        for proxy, function in zip(self._started, self._functions, strict=True):
            proxy.initialise(function)
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        for proxy in self._started:
            proxy.close()
        self._reader.join(PATIENCE)
        os.close(self._output)

    @property
    def ports(self) -> list[int]:
        """Where they listen."""
        return [proxy.port for proxy in self._started]

    def _drain(self) -> None:
        while os.read(self._output, _MUCH):
            pass


class Relay:
    """The relay process: what an invoker that keeps nothing would do; see `relay.py`. On the invoker's core."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._addresses = addresses

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        with machine.pinned(machine.INVOKER_CORE):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.relay", *(f"{host}:{port}" for host, port in self._addresses)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=machine.ROOT,
            )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        """End it: it leaves with its standard input."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._process.pid


class _Whole:
    """Collects a reply; the parser calls its `on_*` methods."""

    def __init__(self) -> None:
        self.body = b""
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def ask_at(address: tuple[str, int], request: bytes) -> bytes:
    """Send one request on a connection of its own, and return the body of the reply."""
    with socket.create_connection(address, PATIENCE) as connection:
        return ask(connection, request)


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Send a request and return the body of the reply, which must be a success."""
    connection.sendall(request)
    whole = _Whole()
    parser = httptools.HttpResponseParser(whole)
    while not whole.complete:
        ready, _, _ = select.select([connection], [], [], PATIENCE)
        data = connection.recv(_MUCH) if ready else b""
        if not data:
            raise RuntimeError(f"no reply: {whole.body[:300]!r}")
        parser.feed_data(data)
    if parser.get_status_code() != 200:  # noqa: PLR2004 (success)
        raise RuntimeError(f"status {parser.get_status_code()}: {whole.body[:300]!r}")
    return whole.body
