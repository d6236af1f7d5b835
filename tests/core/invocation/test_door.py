"""The door: what is let in, and when nobody is."""

import asyncio

import msgspec
import pytest

from invoker.config import ByteSize, IntakeSettings, RecordingSettings
from invoker.errors import Busy, MalformedRequest
from invoker.testing.builders import a_request
from invoker.testing.containers import FakeRuntime
from invoker.wire.request import message
from tests.core.invocation.line import HELLO, a_line, until


async def test_the_door_is_closed_while_records_fill_the_memory() -> None:
    settings = RecordingSettings(max_bytes=ByteSize(600))
    async with a_line(FakeRuntime(), HELLO, recording=settings) as line:
        await line.invoke(a_request(HELLO))
        await line.invoke(a_request(HELLO))

        with pytest.raises(Busy, match="records"):
            line.invoker.admit(message(a_request(HELLO)), via="test")


async def test_the_door_is_closed_while_too_much_waits() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    waiting = a_request(HELLO, content=msgspec.Raw(b'{"x":"%b"}' % (b"x" * 600)))
    async with a_line(runtime, HELLO, intake=IntakeSettings(queue_bytes=ByteSize(1500))) as line:
        invocation = asyncio.create_task(line.invoke(waiting))
        await until(lambda: line.door.waiting_bytes > 0)

        with pytest.raises(Busy) as refusal:
            line.invoker.admit(message(waiting), via="test")
        runtime.gate.set()
        await invocation

        assert refusal.value.retry_after == 1
        line.invoker.admit(message(waiting), via="test")


async def test_a_message_that_is_too_large_or_garbage_is_refused_at_the_door() -> None:
    async with a_line(FakeRuntime(), HELLO) as line:
        with pytest.raises(MalformedRequest, match="1054645 bytes; 1054644 are allowed"):
            line.invoker.admit(b"x" * 1_054_645, via="test")
        with pytest.raises(MalformedRequest):
            line.invoker.admit(b"garbage", via="test")

        assert (line.door.refused_malformed, line.door.inside) == (2, 0)
