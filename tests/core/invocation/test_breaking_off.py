"""Activations that are broken off: whoever does it, they are recorded and answered as our failure."""

import asyncio

import pytest

from invoker.entities.container import Reply
from invoker.testing.builders import a_request
from invoker.testing.containers import FakeContainer, FakeRuntime
from tests.core.invocation.line import HELLO, Heard, Line, a_line, forever, until


async def in_its_run(line: Line, runtime: FakeRuntime, heard: Heard) -> asyncio.Task[None]:
    """Return an invocation whose function runs, for ever."""
    invocation = asyncio.create_task(line.invoke(a_request(HELLO), heard))
    await until(lambda: bool(runtime.created) and len(runtime.created[0].requests) == 2)
    return invocation


async def test_cancelled_in_the_middle_it_is_recorded_and_answered_as_a_system_error() -> None:
    runtime = FakeRuntime(forever)
    heard = Heard()
    async with a_line(runtime, HELLO) as line:
        invocation = await in_its_run(line, runtime, heard)
        invocation.cancel()

        with pytest.raises(asyncio.CancelledError):
            await invocation
        assert heard.words == ["accepted", "combined"]
        assert heard.activation.is_system_error
        assert len(line.records) == 1
        assert line.door.inside == 0
    assert runtime.created[0].removed


async def test_broken_off_by_the_invoker_itself_nobody_sees_a_cancellation() -> None:
    runtime = FakeRuntime(forever)
    heard = Heard()
    async with a_line(runtime, HELLO) as line:
        invocation = await in_its_run(line, runtime, heard)
        line.invoker.break_off()
        await invocation

        assert heard.activation.is_system_error
        assert line.invoker.broken_off == 1


async def test_cancelled_while_it_waits_for_memory_it_is_answered_too() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    heard = Heard()
    async with a_line(runtime, HELLO) as line:
        invocation = asyncio.create_task(line.invoke(a_request(HELLO), heard))
        await until(lambda: heard.words == ["accepted"])
        invocation.cancel()

        with pytest.raises(asyncio.CancelledError):
            await invocation
        assert heard.words == ["accepted", "combined"]
        assert (line.door.waiting_bytes, line.door.inside) == (0, 0)


async def test_a_bug_of_ours_is_a_system_error_too(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(container: FakeContainer, path: str, body: bytes) -> Reply:
        raise ZeroDivisionError

    async with a_line(FakeRuntime(broken), HELLO) as line:
        heard = await line.invoke(a_request(HELLO))

        assert heard.words == ["accepted", "combined"]
        assert heard.activation.is_system_error
        assert len(line.records) == 1
    assert "ZeroDivisionError" in caplog.text
