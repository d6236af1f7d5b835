"""The server inside a proxy: connections, requests in pieces, and what is no request at all."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from contextlib import closing, suppress

import pytest

from invoker.action_connection import ActionConnection
from invoker.entities.container import Reply
from tests.plugins.runtime_process.proxies.proxy import PATIENCE, StartedProxy

COUNTS = {
    "python": "n = 0\ndef main(args):\n    global n\n    n += 1\n    return {'n': n}",
    "nodejs": "let n = 0;\nfunction main() { n += 1; return { n }; }",
}
RUN = b'{"value":{}}'


def request(body: bytes = RUN, *headers: bytes, line: bytes = b"POST /run HTTP/1.1") -> bytes:
    lines = [line, b"Host: proxy", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def said(proxy: StartedProxy, *pieces: bytes) -> bytes:
    """Send pieces over a connection of its own; return all that comes until the proxy closes it."""
    with proxy.dial() as connection:
        for piece in pieces:
            connection.sendall(piece)
        got = b""
        with suppress(ConnectionResetError):  # it left something unread
            while chunk := connection.recv(1 << 16):
                got += chunk
    return got


def test_two_connections_are_served_in_turn_while_the_other_is_idle(proxy: StartedProxy) -> None:
    proxy.loaded(COUNTS)
    with closing(proxy.connect()) as first, closing(proxy.connect()) as second:
        counts = [proxy.ask("/run", {}, one).body["n"] for one in (first, second, first, second, first)]
        sockets = first.sock, second.sock

        assert counts == [1, 2, 3, 4, 5]
        assert all(sockets)  # kept to the end


def test_a_half_request_holds_up_nobody(proxy: StartedProxy) -> None:
    proxy.loaded(COUNTS)
    with proxy.dial() as slow:
        slow.sendall(request()[:-5])

        assert proxy.run() == (200, {"n": 1})

        slow.sendall(request()[-5:])
        assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_caller_that_leaves_in_the_middle_holds_up_nobody(proxy: StartedProxy) -> None:
    proxy.loaded(COUNTS)
    for sent in (b"", b"POST", request()[:-1], request()):
        with proxy.dial() as hasty:
            hasty.sendall(sent)

    assert proxy.run().status == 200


def test_a_request_may_come_byte_by_byte(proxy: StartedProxy) -> None:
    proxy.loaded(COUNTS)
    sent = request(RUN, b"Connection: close")

    got = said(proxy, *(sent[i : i + 1] for i in range(len(sent))))

    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b'\r\n\r\n{"n":1}')


def test_requests_may_come_together(proxy: StartedProxy) -> None:
    proxy.loaded(COUNTS)

    got = said(proxy, request() + request() + request(RUN, b"Connection: close"))

    assert got.count(b"HTTP/1.1 200 OK\r\n") == 3


@pytest.mark.parametrize(
    "sent", [request(RUN, b"connection:  Close"), request(line=b"POST /run HTTP/1.0")], ids=["close", "1.0"]
)
def test_a_connection_is_closed_if_its_caller_wants_that(proxy: StartedProxy, sent: bytes) -> None:
    proxy.loaded(COUNTS)

    got = said(proxy, sent)

    assert b"\r\nConnection: close\r\n" in got
    assert got.endswith(b'{"n":1}')


def test_every_answer_has_a_length(proxy: StartedProxy) -> None:
    assert b"\r\nContent-Length: " in said(proxy, request(RUN, b"Connection: close"))  # spec T47


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("POST", "/stop"), ("GET", "/run"), ("POST", "/run/")])
def test_there_is_nothing_else(proxy: StartedProxy, method: str, path: str) -> None:
    assert proxy.ask(path, b"", method=method).status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[1]x", b"\xff\xfe", b"null", b"[]", b"[" * 100_000], ids=range(7))
def test_a_body_that_is_no_json_object_is_refused(proxy: StartedProxy, body: bytes) -> None:
    proxy.loaded(COUNTS)

    assert proxy.ask("/run", body).status == 400
    assert proxy.ask("/init", body).status in {400, 403}
    assert proxy.run() == (200, {"n": 1})


def test_a_body_that_is_too_long_is_refused_unread(proxy: StartedProxy) -> None:
    head = b"POST /run HTTP/1.1\r\nHost: proxy\r\nContent-Length: 67108865\r\n\r\n"

    assert said(proxy, head).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_a_length_is_refused(proxy: StartedProxy) -> None:
    head = b"POST /run HTTP/1.1\r\nHost: proxy\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert said(proxy, head).startswith(b"HTTP/1.1 411 ")


def test_headers_without_end_are_refused(proxy: StartedProxy) -> None:
    got = said(proxy, b"POST /run HTTP/1.1\r\nX: " + b"a" * 100_000)

    assert got == b"" or got.startswith(b"HTTP/1.1 431 ")


def test_a_caller_that_waits_for_leave_to_send_gets_it(proxy: StartedProxy) -> None:
    proxy.loaded(COUNTS)
    sent = request(RUN, b"Expect: 100-continue", b"Connection: close")
    with proxy.dial() as careful:
        careful.sendall(sent[: -len(RUN)])
        assert careful.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"

        careful.sendall(RUN)

        assert careful.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_proxy_may_listen_itself_and_is_waited_for(start: list[str]) -> None:
    async def ask_twice() -> list[Reply]:
        with closing(ActionConnection("127.0.0.1", port)) as connection:
            return [await connection.post("/run", RUN, timeout=PATIENCE, limit=1 << 20, wait=True) for _ in range(2)]

    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    process = subprocess.Popen([*start, "--host", "127.0.0.1", "--port", str(port)], start_new_session=True)
    try:
        first, second = asyncio.run(ask_twice())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    assert first == second
    assert first.status == 500
    assert json.loads(first.body) == {"error": "Cannot invoke an uninitialized action."}
