"""The floor of processor time: an "invoker" that decodes a message, calls `/run`, and acknowledges. Nothing else.

No function store, no pool, no logs, no records, no limits, no errors: what the same libraries (`uvloop`, `httptools`,
`msgspec`) take for the way there and back. Each connection has a connection of its own to a proxy.
"""

import asyncio
import os
import sys
from typing import Final, cast

import httptools
import msgspec
import uvloop

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_RUN: Final = b"POST /run HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


class _Action(msgspec.Struct):
    path: str
    name: str
    version: str


class _Namespace(msgspec.Struct):
    name: str


class _User(msgspec.Struct):
    subject: str
    namespace: _Namespace
    authkey: msgspec.Raw


class _Message(msgspec.Struct, rename="camel"):
    transid: msgspec.Raw
    action: _Action
    user: _User
    activation_id: str
    blocking: bool
    content: msgspec.Raw


class _Response(msgspec.Struct, rename="camel"):
    status_code: int
    result: msgspec.Raw


class _Record(msgspec.Struct, rename="camel"):
    activation_id: str
    namespace: str
    name: str
    subject: str
    response: _Response


class _Ack(msgspec.Struct, rename="camel"):
    transid: msgspec.Raw
    response: _Record
    is_system_error: bool = False


_decode: Final = msgspec.json.Decoder(_Message).decode
_encode: Final = msgspec.json.Encoder().encode


class _Proxy(asyncio.Protocol):
    """The way to an action proxy."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[bytes] | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def run(self, body: bytes) -> asyncio.Future[bytes]:
        self._answer = self._loop.create_future()
        self._transport.write(_RUN % (len(body), body))
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        assert self._answer is not None
        self._answer.set_result(data)


class _Caller(asyncio.Protocol):
    """The way to a caller; one task for each connection."""

    def __init__(self, proxy: tuple[str, int], tasks: asyncio.TaskGroup) -> None:
        self._address = proxy
        self._tasks = tasks
        self._parser = httptools.HttpRequestParser(self)
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._tasks.create_task(self._serve())

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 (whatever the reason)
        self._messages.put_nowait(None)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._messages.put_nowait(data)

    async def _serve(self) -> None:
        _, proxy = await asyncio.get_running_loop().create_connection(_Proxy, *self._address)
        while (body := await self._messages.get()) is not None:
            message = _decode(body)
            self._transport.write(_HEAD)
            answer = _ack(message, await proxy.run(_run_body(message)))
            self._transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer), answer))
        proxy._transport.abort()  # noqa: SLF001 (one program in two classes)


def _run_body(message: _Message) -> bytes:
    context = _encode(
        {
            "namespace": message.user.namespace.name,
            "action_name": f"/{message.action.path}/{message.action.name}",
            "action_version": message.action.version,
            "activation_id": message.activation_id,
        }
    )
    return b'{"value":%b,%b' % (message.content, context[1:])


def _ack(message: _Message, result: bytes) -> bytes:
    user = message.user
    response = _Response(0, msgspec.Raw(result))
    record = _Record(message.activation_id, user.namespace.name, message.action.name, user.subject, response)
    return _encode(_Ack(message.transid, record))


async def _main(proxies: list[tuple[str, int]]) -> None:
    loop = asyncio.get_running_loop()
    left = loop.create_future()
    loop.add_reader(0, left.cancel)  # standard input ends with the bench
    async with asyncio.TaskGroup() as tasks:
        count = 0

        def accept() -> _Caller:
            nonlocal count
            count += 1
            return _Caller(proxies[(count - 1) % len(proxies)], tasks)

        server = await loop.create_server(accept, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.wait([left])
        os._exit(0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        given = (text.rpartition(":") for text in sys.argv[1:])
        runner.run(_main([(host, int(port)) for host, _, port in given]))
