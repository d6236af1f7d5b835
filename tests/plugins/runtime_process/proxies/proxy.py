"""An action proxy as the runtime starts it: a child process with its socket, its streams and its standard input."""

import base64
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Any, NamedTuple, Self

from invoker_process.directories import listen

PROXIES = Path(__file__).parents[4] / "plugins/runtime_process/invoker_process/proxies"
SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
PATIENCE = 20
"""Seconds after which what should have happened has not."""

Code = Mapping[str, str]
"""The same function in each language."""


def command(language: str) -> list[str] | None:
    """Return how a proxy is started, or `None` if nothing here can run its language."""
    if language == "python":
        return [sys.executable, "-I", "-S", str(PROXIES / "python.py")]
    node = shutil.which("node")
    return [node, str(PROXIES / "nodejs.js")] if node else None


class ProxyAnswer(NamedTuple):
    status: int
    body: Any


class ProxyStream:
    """One stream of the proxy, read to its end by a thread."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._data = b""
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def activation(self) -> str:
        """Wait for the next sentinel; return what came before it."""
        return self.until(SENTINEL.encode())

    def until(self, marker: bytes) -> str:
        """Wait for `marker`; return what came before it."""
        with self._changed:
            assert self._changed.wait_for(lambda: marker in self._data or self._ended, PATIENCE), self._data
            assert marker in self._data, self._data
            text, self._data = self._data.split(marker, 1)
        return text.decode()

    def rest(self) -> str:
        """Wait for the end of the stream; return what came until then."""
        self._thread.join(PATIENCE)
        assert self._ended
        return self._data.decode()

    def _drain(self) -> None:
        with self._pipe:
            while chunk := os.read(self._pipe.fileno(), 1 << 16):
                with self._changed:
                    self._data += chunk
                    self._changed.notify()
        with self._changed:
            self._ended = True
            self._changed.notify()


class UnixHTTPConnection(http.client.HTTPConnection):
    """To a proxy's socket."""

    def __init__(self, proxy: "StartedProxy") -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._proxy = proxy

    def connect(self) -> None:
        self.sock = self._proxy.dial()


class StartedProxy:
    """A running proxy. Leaving it ends it, by the end of its standard input."""

    def __init__(
        self,
        language: str,
        start: list[str],
        directory: Path,
        *,
        drained: bool = True,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        usual = {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory), "LANG": "C.UTF-8"}
        self.language = language
        self.directory = directory
        listener, self._address = listen(directory)
        with listener:
            self.process = subprocess.Popen(
                [*start, "--fd", str(listener.fileno()), "--watch-stdin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env={**usual, **environment},
                cwd=directory,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        if drained:
            self.stdout = ProxyStream(self.process.stdout)
            self.stderr = ProxyStream(self.process.stderr)
        self._drained = drained
        self._connection = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        """Return one more connection."""
        return UnixHTTPConnection(self)

    def dial(self) -> socket.socket:
        """Return a bare connection."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(f"/proc/self/fd/{self._address}")
        return connection

    def ask(
        self, path: str, body: Any, connection: http.client.HTTPConnection | None = None, method: str = "POST"
    ) -> ProxyAnswer:
        """Send a request and read its answer; `body` is made JSON unless it is bytes."""
        connection = connection or self._connection
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            assert response.headers["Content-Type"] == "application/json"
            return ProxyAnswer(response.status, json.loads(response.read()))

    def init(self, code: Code | str, **value: Any) -> ProxyAnswer:
        """Initialise it with source text in its language, or with whatever `value` says."""
        text = code if isinstance(code, str) else code[self.language]
        defaults = {"name": "test", "main": "main", "binary": False, "env": {}}
        return self.ask("/init", {"value": {**defaults, "code": text, **value}})

    def loaded(self, code: Code | str, **value: Any) -> Self:
        """Initialise it; this must succeed."""
        assert self.init(code, **value) == (200, {"ok": True})
        return self

    def run(self, value: Any = None, **context: Any) -> ProxyAnswer:
        """Run the function once."""
        return self.ask("/run", {"value": {} if value is None else value, **context})

    def ended(self) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        os.close(self._address)
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.ended()
        finally:
            if self.process.returncode is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                if not self._drained and stream is not None:
                    stream.close()
        if self._drained:
            self.stdout.rest()
            self.stderr.rest()


def packed(members: Mapping[str, str | bytes], modes: Mapping[str, int] | None = None) -> str:
    """Return an archive as `/init` takes it; `modes` gives members a Unix mode, such as that of a link."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(member, content)
    return base64.b64encode(buffer.getvalue()).decode()
