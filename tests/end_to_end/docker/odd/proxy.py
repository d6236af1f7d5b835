"""An action proxy that misbehaves: the code that `/init` brings is the name of a way to do so.

Everything else about it is in order: what it runs it counts, says so to the `place` among the parameters, prints a line
on each stream, and ends its logs before it answers, unless the way says otherwise.
"""

import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
Answers = Callable[["OddConnection", "dict[str, Any]"], bool]
"""Answers one `/run`; returns whether the connection goes on."""


class OddConnection:
    """One connection, on which whole requests are read, and anything can be written."""

    def __init__(self, link: socket.socket, listener: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link = link
        self.listener = listener
        self._file = link.makefile("rb")

    def request(self) -> tuple[str, dict[str, Any]] | None:
        """Read a request; `None` at the end."""
        first = self._file.readline()
        if not first:
            return None
        length = 0
        while (line := self._file.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return first.split()[1].decode(), json.loads(self._file.read(length))

    def send(self, data: bytes) -> None:
        self.link.sendall(data)

    def close(self) -> None:
        self._file.close()
        self.link.close()

    def reset(self) -> None:
        """Break the connection rather than end it."""
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def refuse_others(self) -> None:
        """Take no connection any more; only this wakes whoever waits for one."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def visit(place: Any, **facts: Any) -> socket.socket:
    link = socket.create_connection(tuple(place))
    link.sendall(json.dumps(facts).encode() + b"\n")
    return link


class OddProxy:
    """Counts what it runs, and misbehaves."""

    def __init__(self) -> None:
        self.count = 0
        self.way = ""

    @property
    def body(self) -> bytes:
        return json.dumps({"count": self.count}).encode()

    def run(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        self.count += 1
        if "place" in value:
            visit(value["place"], count=self.count)
        for stream, word in ((1, b"out"), (2, b"err")):
            os.write(stream, word + b"\n" + (SENTINEL if self.way != "ends-its-logs-late" else b""))
        way: Answers = getattr(self, self.way.replace("-", "_"))
        return way(connection, value)

    def never_answers(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        signal.pause()  # with the connection open
        return False

    def answers_byte_by_byte(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        for byte in reply(self.body):
            connection.send(bytes((byte,)))
        return True

    def answers_without_a_length(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + self.body)
        return False

    def answers_in_chunks(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in self.body:
            connection.send(b"1\r\n%c\r\n" % byte)
        connection.send(b"0\r\n\r\n")
        return True

    def answers_rubbish(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.send(b"\x00\xff this is no HTTP\r\n\r\n")
        return True

    def answers_half(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.send(reply(self.body)[:-1])
        return False

    def breaks_the_connection(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.reset()
        return False

    def closes_when_it_has_read_the_second(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        if self.count == 1:
            connection.send(reply(self.body))
            return True
        return False

    def closes_after_each(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.send(reply(self.body))  # and says nothing of it
        return False

    def closes_for_good(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.refuse_others()
        connection.send(reply(self.body))
        return False

    def is_unwell(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.send(reply(b"{}", "503 Service Unavailable"))
        return True

    def is_unwell_the_second_time(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        return self.is_unwell(connection, value) if self.count == 2 else self.answers_byte_by_byte(connection, value)

    def ends_its_logs_late(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.send(reply(self.body))
        visit(value["place"], late=True).recv(1)
        return True

    def says_more_than_it_was_asked(self, connection: OddConnection, value: dict[str, Any]) -> bool:
        connection.send(reply(self.body) + reply(b'{"count": "nobody\'s"}'))
        return True


def serve(proxy: OddProxy, connection: OddConnection) -> None:
    goes_on = True
    while goes_on and (request := connection.request()) is not None:
        path, body = request
        value = body["value"]
        if path == "/run":
            goes_on = proxy.run(connection, value)
        elif value["code"] == "never-initialises":
            time.sleep(3600)
        elif value["code"] == "is-unwell-in-init":
            connection.send(reply(b"{}", "503 Service Unavailable"))
        else:
            proxy.way = value["code"]
            connection.send(reply(b'{"ok":true}'))
    connection.close()


def main() -> None:
    listener = socket.create_server(("", 8080))
    proxy = OddProxy()
    while True:
        try:
            link, _ = listener.accept()
        except OSError:  # it was closed
            signal.pause()
        threading.Thread(target=serve, args=(proxy, OddConnection(link, listener)), daemon=True).start()


if __name__ == "__main__":
    main()
