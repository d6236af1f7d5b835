"""How `invoker pool` finds the invoker that it asks, and what it says where it finds none."""

import base64
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from tests.end_to_end.program import Called, Home

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


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens at, and that no other test is given."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def failed(called: Called, complaint: str, code: int = 1) -> None:
    assert called.code == code, called
    assert complaint in called.errors
    assert called.output == ""
    assert "Traceback" not in called.errors


def test_the_settings_say_where_it_is(own_home: Home, free_port: int) -> None:
    where = f"http.admin=127.0.0.1:{free_port}"
    nowhere = own_home.call("--set", where, "pool")
    with own_home.running("pool.memory=1 GB", where), own_home.running("node.id=1", "pool.memory=2 GB"):
        called = own_home.call("--set", where, "pool", "--json")

    failed(
        nowhere, f"no invoker answers at http://127.0.0.1:{free_port}: Connection refused. Start it with `invoker run`"
    )
    assert called.json["memory"] == 1 << 30


@pytest.mark.parametrize("host", ["0.0.0.0", "", "[::]", "[::1]"])
def test_one_that_listens_everywhere_is_asked_on_the_loopback(own_home: Home, free_port: int, host: str) -> None:
    where = ["--set", f"http.admin={host}:{free_port}"]

    failed(own_home.call(*where, "pool"), f"http://{'[::1]' if '[' in host else '127.0.0.1'}:{free_port}")


def test_one_that_was_killed_does_not_run(own_home: Home, free_port: int) -> None:
    where = f"http.admin=127.0.0.1:{free_port}"
    with own_home.running(where, code=-signal.SIGKILL) as running:
        running.signal(signal.SIGKILL)
        running.ended()
        failed(own_home.call("--set", where, "pool"), "no invoker answers")


@pytest.mark.parametrize(("admin", "reason"), [("", "serves operators"), ("127.0.0.1:0", "serves operators")])
def test_where_the_settings_do_not_say_it_the_url_must(own_home: Home, admin: str, reason: str) -> None:
    called = own_home.call("--set", f"http.admin={admin}", "pool")

    failed(called, reason)
    assert "--url http://127.0.0.1:8081" in called.errors


def test_where_messages_come_in_is_not_where_operators_are_served(own_home: Home) -> None:
    with own_home.running() as running:
        address = f"http://{running.data.host}:{running.data.port}"
        called = own_home.call("pool", "--url", address)

    failed(called, f"there is no /pool at {address}: is it the address for operators, and not the one for messages?")


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
