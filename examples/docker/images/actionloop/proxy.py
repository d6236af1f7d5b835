"""An action proxy for programs: OpenWhisk's "actionloop" protocol, spoken to whatever `/init` brings.

The code, an ELF binary or a script with a `#!` line (in base64 where `binary` is true), is written to
`./action/1/bin/exec`; a zip archive is unpacked there and has its program under that name. The program is started
once. For each activation it reads one line of JSON from standard input, the body of `/run`, and writes one line, the
result, to descriptor 3. Whatever it writes elsewhere is its log, which the proxy ends with the sentinels.
"""

import base64
import io
import json
import os
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
PROGRAM = Path("action/1/bin/exec")
EXECUTABLE = b"\x7fELF", b"#!"


class Refused(Exception):
    """A request that has no result; `status` and the text are its answer."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class Action:
    """The program, and the pipe that its results come through."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()  # before anything else: the shell takes descriptors of one digit only
        self._results = os.fdopen(reading, "rb")
        self._program: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()  # lines have no number, so one activation at a time

    def init(self, body: bytes) -> bytes:
        """Keep the code and start it."""
        if self._program is not None:
            raise Refused(403, "Cannot initialize the action more than once.")
        value = json.loads(body)["value"]
        if not value.get("code"):
            raise Refused(502, "Missing main/no code to execute.")
        keep(base64.b64decode(value["code"]) if value.get("binary") else value["code"].encode())
        self._program = subprocess.Popen(  # noqa: S603 (what this program is for)
            ["/bin/sh", "-c", f"exec ./{PROGRAM.name} 3>&{self._writing}"],
            cwd=PROGRAM.parent,
            env=os.environ | {name: str(text) for name, text in value.get("env", {}).items()},
            stdin=subprocess.PIPE,
            pass_fds=[self._writing],
        )
        os.close(self._writing)  # so that the results end with the program
        return b'{"ok":true}'

    def run(self, body: bytes) -> bytes:
        """Have it run one activation, and end its logs."""
        if self._program is None or self._program.stdin is None:
            raise Refused(500, "Cannot invoke an uninitialized action.")
        with self._turn:
            try:
                self._program.stdin.write(json.dumps(json.loads(body)).encode() + b"\n")
                self._program.stdin.flush()
                result = self._results.readline()
            except BrokenPipeError:
                result = b""
            for stream in (1, 2):
                os.write(stream, SENTINEL)
        if not result:
            raise Refused(502, "The action ended without a result.")
        if result[:1] not in {b"{", b"["}:
            raise Refused(502, "The action did not return a dictionary or array.")
        return result.rstrip(b"\n")


def keep(code: bytes) -> None:
    """Write the program to its place."""
    PROGRAM.parent.mkdir(parents=True)
    if code.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            archive.extractall(PROGRAM.parent)
    else:
        PROGRAM.write_bytes(code)
    if not PROGRAM.is_file() or not PROGRAM.read_bytes().startswith(EXECUTABLE):
        raise Refused(502, "The code is no program: neither an ELF binary nor a script that begins with #!.")
    PROGRAM.chmod(0o755)


class Caller(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    action: Action

    def do_POST(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200
        try:
            answer = {"/init": self.action.init, "/run": self.action.run}[self.path](body)
        except Refused as refusal:
            status = refusal.status
            answer = json.dumps({"error": str(refusal)}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing: the streams are the action's log."""


if __name__ == "__main__":
    Caller.action = Action()
    ThreadingHTTPServer(("", 8080), Caller).serve_forever()
