"""The loop belongs to everybody: nothing that one caller sends or one function answers holds it."""

from collections.abc import Callable

import msgspec
import pytest

from invoker.config import Secret
from invoker.entities.activation import Status
from invoker.testing.builders import a_function, a_request
from invoker.testing.containers import FakeRuntime, answering
from invoker.wire.request import message
from tests.core.invocation.line import HELLO, a_line
from tests.core.loop_watch import STALL, never_held
from tests.specification import KEY_128, SEALED_128

MANY = ",".join(f'"k{number}":{number}' for number in range(60_000))
"""Members of an object, nearly a megabyte."""
LONE = '"lone":"\\ud800"'
OBJECTS: dict[str, Callable[[], bytes]] = {
    "many keys": f"{{{MANY}}}".encode,
    "many keys and a lone surrogate": f"{{{MANY},{LONE}}}".encode,
    "nothing but surrogates": lambda: b'{"a":"%b"}' % (b"\\ud800" * 170_000),
    "nothing but backslashes": lambda: b'{"a":"%b\\ud800"}' % (b"\\\\" * 500_000),
    "nothing that is UTF-8": lambda: b'{"a":"%b"}' % (b"\xff" * (1 << 20)),
    "deep": lambda: b'{"a":%b"\\ud800"%b}' % (b"[" * 500_000, b"]" * 500_000),
}


@pytest.mark.parametrize("body", OBJECTS.values(), ids=OBJECTS)
async def test_no_reply_holds_the_loop(body: Callable[[], bytes]) -> None:
    runtime = FakeRuntime(answering(body()))
    async with a_line(runtime, HELLO) as line, never_held():
        heard = await line.invoke(a_request(HELLO))

    assert heard.words == ["accepted", "combined"]


async def test_no_code_holds_the_loop() -> None:
    large = a_function(name="large", revision="1-a", code="c" * (48 << 20))
    runtime = FakeRuntime()
    async with a_line(runtime, msgspec.structs.replace(large, digest=b"")) as line, never_held(STALL / 2):
        heard = await line.invoke(a_request(large))

        assert len(runtime.created[0].requests[0][1]) > 48 << 20

    assert heard.activation.outcome.status is Status.SUCCESS


ARGUMENTS = [name for name in OBJECTS if name not in ("nothing that is UTF-8", "deep")]  # which admission refuses


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_no_arguments_hold_the_loop(name: str) -> None:
    request = message(a_request(HELLO, init_names=("k1", "lone")))
    sent = request.replace(b'"content":{"name":"you"}', b'"content":%b' % OBJECTS[name]())
    async with a_line(FakeRuntime(), HELLO) as line, never_held():
        heard = await line.invoke(sent)

    assert heard.activation.outcome.status is Status.SUCCESS


async def test_no_locked_parameters_hold_the_loop() -> None:
    locked = {f"s{number}": "aes-128" for number in range(2_000)}
    sealed = ",".join(f'"{name}":"{SEALED_128}"' for name in locked)
    sent = message(a_request(HELLO, content=msgspec.Raw(f"{{{MANY},{sealed}}}".encode()), locked=locked))
    async with a_line(FakeRuntime(), HELLO, keys={"aes-128": Secret(KEY_128)}) as line, never_held():
        heard = await line.invoke(sent)

    assert heard.activation.outcome.status is Status.SUCCESS
