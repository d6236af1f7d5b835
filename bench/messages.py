"""Requests that are built in half a microsecond: a template, a number, and the answer that is the right one."""

import secrets
import time
from typing import Final

import msgspec

from invoker.entities.function import Function, FunctionRef
from invoker.entities.request import Caller, Request, Transaction
from invoker.wire import action_proxy
from invoker.wire import request as wire

NAMESPACE: Final = "guest"
PYTHON_ECHO: Final = "def main(args):\n    return args\n"
"""The action of all throughput measurements: its answer proves that it got its own arguments."""
NODEJS_ECHO: Final = "function main(args) { return args; }\n"

FIRST: Final = 1_000_000_000
"""The first number; all have ten digits, so that a template's length is the same for all."""

_ID: Final = "f" * 32
_NUMBER: Final = 9_999_999_999
_START: Final = 1_888_888_888_888
"""What stands in templates for an activation's id, its argument, and the time of its beginning."""

_RUN: Final = secrets.token_hex(8)
"""Half of every activation id: records of one run never have those of another."""


def activation_id(number: int) -> str:
    """Return the id of the activation with that number."""
    return f"{_RUN}{number:016x}"


class Template(msgspec.Struct, frozen=True):
    """One action's requests, head included."""

    pattern: bytes

    def render(self, number: int) -> bytes:
        """Return the bytes to send."""
        return self.pattern % {
            b"id": activation_id(number).encode(),
            b"number": b"%d" % number,
            b"start": b"%d" % (time.time_ns() // 1_000_000),
        }


def invocation(function: Function, namespace: str = NAMESPACE) -> Template:
    """Return `POST /invoke` with an activation message, as large as a controller's."""
    return _template("/invoke", wire.message(_request(function, namespace)))


def direct_run(function: Function, namespace: str = NAMESPACE) -> Template:
    """Return `POST /run` as the invoker sends it to the action proxy."""
    request = _request(function, namespace)
    value = request.content
    assert value is not None
    return _template("/run", action_proxy.run_body(request, value, function, deadline=_START))


def init(function: Function) -> bytes:
    """Return `POST /init` as the invoker sends it to the action proxy."""
    environment = action_proxy.environment(_request(function, NAMESPACE), function, {}, deadline=_START)
    body = action_proxy.init_body(function, environment)
    return _head("/init", len(body)) + body


def _request(function: Function, namespace: str) -> Request:
    return Request(
        activation_id=_ID,
        transaction=Transaction(_ID, _START, extra_logging=False, raw=msgspec.Raw(f'["{_ID}",{_START}]'.encode())),
        function=FunctionRef(function.path, function.name, function.version, function.revision),
        caller=Caller(
            subject=f"{namespace}-subject",
            namespace=namespace,
            namespace_uuid="23bc46b1-71f6-4ed5-8c54-816aa4f8c502",
            authkey=msgspec.Raw(b'{"api_key":"23bc46b1-71f6-4ed5-8c54-816aa4f8c502:%b"}' % (b"k" * 64)),
        ),
        controller="0",
        blocking=True,
        content=msgspec.Raw(b'{"n":%d}' % _NUMBER),
    )


def _template(path: str, body: bytes) -> Template:
    pattern = (_head(path, len(body)) + body).replace(b"%", b"%%")
    for what, name in ((_ID.encode(), b"id"), (b"%d" % _NUMBER, b"number"), (b"%d" % _START, b"start")):
        pattern = pattern.replace(what, b"%%(%b)b" % name)
    return Template(pattern)


def _head(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode("ascii")


class _Result(msgspec.Struct):
    n: int


class _Response(msgspec.Struct, rename="camel"):
    status_code: int
    result: _Result


class _Record(msgspec.Struct, rename="camel"):
    activation_id: str
    response: _Response


class _Ack(msgspec.Struct, rename="camel"):
    transid: tuple[str, int]
    response: _Record
    is_system_error: bool


_RESULT: Final = msgspec.json.Decoder(_Result)
_ACK: Final = msgspec.json.Decoder(_Ack)


def is_answer_of_run(body: bytes, number: int) -> bool:
    """Whether an action proxy's reply is the echo of that number."""
    try:
        return _RESULT.decode(body).n == number
    except msgspec.DecodeError:
        return False


def is_acknowledgement(body: bytes, number: int) -> bool:
    """Whether a response is the combined acknowledgement of that activation, with its own result."""
    try:
        ack = _ACK.decode(body)
    except msgspec.DecodeError:
        return False
    record = ack.response
    own = activation_id(number)
    return (
        not ack.is_system_error
        and record.response.status_code == 0
        and record.response.result.n == number
        and record.activation_id == own
        and ack.transid[0] == own
    )
