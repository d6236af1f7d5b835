"""How `invoker pool` finds the invoker that it asks, and what it says where it finds none."""

import asyncio
import base64
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from tests.end_to_end.program import Called, Home, Running

EMPTY = (
    b'{"memory":1073741824,"used":0,"waiting":0,"containers":[],"actions":[],"prewarmed":[],"starts":{"new":0},'
    b'"waits":{"memory":0},"recent":[]}'
)


class Stranger(BaseHTTPRequestHandler):
    """A server that is no invoker's, or stands before one."""

    answers: ClassVar[dict[str, bytes]] = {"/pool": EMPTY, "/behind/pool": EMPTY, "/old/pool": b'{"memory":1}'}

    def do_GET(self) -> None:
        guarded = self.path == "/guarded/pool"
        user = base64.b64encode(b"ada:p:w").decode()
        if guarded and self.headers["Authorization"] != f"Basic {user}":
            self._answer(401, b"")
        elif self.path == "/broken/pool":
            self._answer(500, b"")
        else:
            self._answer(200, EMPTY if guarded else self.answers[self.path])

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def stranger() -> Iterator[str]:
    """Serve; yield where, without the scheme."""
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def failed(called: Called, complaint: str, code: int = 1) -> None:
    assert called.code == code, called
    assert complaint in called.errors
    assert called.output == ""
    assert "Traceback" not in called.errors


def test_where_none_runs_this_is_told(own_home: Home) -> None:
    failed(own_home.call("pool"), "invoker0 does not run here: start it with `invoker run`, or say where it is: --url")


def test_one_that_was_stopped_or_killed_does_not_run(own_home: Home) -> None:
    with own_home.running():
        assert own_home.call("pool", "--json").code == 0
    failed(own_home.call("pool"), "invoker0 does not run here")

    with own_home.running(code=-signal.SIGKILL) as running:
        running.signal(signal.SIGKILL)
        running.ended()
        failed(own_home.call("pool"), "invoker0 does not run here")


def test_of_several_the_one_of_these_settings_is_asked(own_home: Home) -> None:
    with own_home.running("pool.memory=1 GB"), own_home.running("node.id=1", "pool.memory=2 GB"):
        first = own_home.call("pool", "--json")
        second = own_home.call("--set", "node.id=1", "pool", "--json")

    assert (first.json["memory"], second.json["memory"]) == (1 << 30, 2 << 30)


def test_the_only_one_is_asked_whatever_its_name(own_home: Home) -> None:
    with own_home.running("node.id=1", "pool.memory=3 GB"):
        called = own_home.call("pool", "--json")

    assert called.json["memory"] == 3 << 30


def test_among_several_one_must_be_chosen(own_home: Home) -> None:
    with own_home.running("node.id=1") as one, own_home.running("node.id=2") as other:
        called = own_home.call("pool")
        chosen = own_home.call("pool", "--json", "--url", url(other))

        failed(called, f"invoker1 at {url(one)} (process {one.process.pid})")
        failed(called, f"invoker2 at {url(other)} (process {other.process.pid})")
    assert chosen.code == 0


def url(running: Running) -> str:
    return f"http://{running.operators.host}:{running.operators.port}"


async def test_one_without_a_door_for_operators_can_not_be_asked(own_home: Home) -> None:
    with own_home.start("--set", "http.admin=", "run") as process:
        assert process.stderr is not None
        next(line for line in iter(process.stderr.readline, b"") if b'"event": "ready"' in line)
        called = await asyncio.to_thread(own_home.call, "pool")
        process.terminate()
        process.stderr.read()

    failed(called, f"invoker0 runs (process {process.pid}), but has no door for operators")


def test_the_door_for_messages_is_not_the_one_for_operators(own_home: Home) -> None:
    with own_home.running() as running:
        address = f"http://{running.data.host}:{running.data.port}"
        called = own_home.call("pool", "--url", address)

    failed(called, f"there is no /pool at {address}: is it the door for operators, and not the one for messages?")


def test_where_nobody_listens_nobody_answers(home: Home) -> None:
    with stranger() as address:
        pass

    failed(
        home.call("pool", "--url", f"http://{address}"), f"no invoker answers at http://{address}: Connection refused"
    )


@pytest.mark.parametrize(
    "text", ["127.0.0.1:8081", "ftp://127.0.0.1:8081", "http://", "http://host:x", "http://h:99999"]
)
def test_what_is_no_address_is_refused(home: Home, text: str) -> None:
    failed(home.call("pool", "--url", text), "expected an address such as http://127.0.0.1:8081", code=2)


def test_an_invoker_may_be_behind_another_server(home: Home) -> None:
    with stranger() as address:
        called = home.call("pool", "--url", f"http://{address}/behind/")

    assert called.code == 0, called
    assert called.output == "memory: 0 B of 1 GB used; activations without a container: 0\n\ncontainers: none\n"


def test_who_must_say_who_asks_puts_it_into_the_address(home: Home) -> None:
    with stranger() as address:
        unknown = home.call("pool", "--url", f"http://{address}/guarded")
        wrong = home.call("pool", "--url", f"http://ada:hunter2@{address}/guarded")
        known = home.call("pool", "--json", "--url", f"http://ada:p%3Aw@{address}/guarded")

    failed(unknown, f"http://{address}/guarded wants to know who asks: --url http://user:password@")
    failed(wrong, "wants to know who asks")
    assert "hunter2" not in wrong.errors
    assert known.code == 0


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("old", "what answers is no invoker of this version"),
        ("broken", "answered with status 500"),
    ],
)
def test_what_answers_otherwise_is_named(home: Home, path: str, complaint: str) -> None:
    with stranger() as address:
        failed(home.call("pool", "--url", f"http://{address}/{path}"), complaint)
