"""Admission control: what is let in, when nobody is, and who waits for room."""

import asyncio

import msgspec
import pytest

from invoker.config import ByteSize, IntakeSettings, RecordingSettings
from invoker.entities.container import Reply
from invoker.errors import Busy, Draining, MalformedRequest
from invoker.recording import Recorder, recording
from invoker.testing.builders import a_request, an_activation
from invoker.testing.containers import FakeContainer, FakeRuntime, reply
from invoker.testing.stores import MemoryActivations
from invoker.wire.request import message
from tests.core.invocation.line import HELLO, Line, a_line, until

LARGE = a_request(HELLO, content=msgspec.Raw(b'{"x":"%b"}' % (b"x" * 600)))
SIZE = len(message(LARGE))
ONE = IntakeSettings(queue_bytes=ByteSize(SIZE + SIZE // 2))
"""Room for one such message at a time."""


async def test_nothing_is_admitted_while_records_fill_the_memory() -> None:
    settings = RecordingSettings(max_bytes=ByteSize(1500))
    async with a_line(FakeRuntime(), HELLO, recording=settings) as line:
        await line.invoke(a_request(HELLO))
        await line.invoke(a_request(HELLO))

        with pytest.raises(Busy, match="records") as refusal:
            line.invoker.admit(message(a_request(HELLO)), via="test")
        assert (refusal.value.retry_after, line.admission.refused_busy) == (
            5,
            {"queue": 0, "records": 1},
        )


async def test_nothing_is_admitted_while_too_much_waits() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    async with a_line(runtime, HELLO, intake=ONE) as line:
        heard = line.begin(LARGE)

        with pytest.raises(Busy) as refusal:
            line.invoker.admit(message(LARGE), via="test")
        runtime.gate.set()
        await heard.ended.wait()
        await until(lambda: line.admission.running == 0)

        assert refusal.value.retry_after == 1
        line.begin(LARGE)


async def test_what_fits_to_the_byte_is_admitted() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    async with a_line(runtime, HELLO, intake=IntakeSettings(queue_bytes=ByteSize(2 * SIZE))) as line:
        line.begin(LARGE)
        line.begin(LARGE)

        assert line.admission.waiting_bytes == 2 * SIZE
        runtime.gate.set()


async def test_what_is_on_its_way_takes_room_until_it_is_given_back() -> None:
    async with a_line(FakeRuntime(), HELLO, intake=ONE) as line:
        line.invoker.reserve(SIZE)
        with pytest.raises(Busy, match="wait for a container"):
            line.invoker.reserve(SIZE)
        with pytest.raises(Busy):
            line.invoker.admit(message(LARGE), via="test")
        waiting = asyncio.create_task(line.invoker.room(SIZE))
        line.invoker.release(SIZE)
        await waiting
        line.begin(LARGE)

    assert line.admission.refused_busy == {"queue": 2, "records": 0}


async def test_a_message_is_counted_until_it_has_its_container() -> None:
    async def counted(line: Line) -> int:
        return line.admission.waiting_bytes

    runs, may_end = asyncio.Event(), asyncio.Event()

    async def slow(container: FakeContainer, path: str, body: bytes) -> Reply:
        if path == "/run":
            runs.set()
            await may_end.wait()
        return reply(b"{}")

    runtime = FakeRuntime(slow)
    runtime.gate.clear()
    async with a_line(runtime, HELLO) as line:
        heard = line.begin(LARGE)
        await until(lambda: runtime.attempts == 1)
        waiting = await counted(line)
        heard.gates["completed"].clear()
        runtime.gate.set()
        await runs.wait()
        assert await counted(line) == 0
        may_end.set()
        await until(lambda: "completed" in heard.begun)
        placed = await counted(line)
        heard.gates["completed"].set()

        assert waiting == SIZE
        assert placed == len(b"{}")  # of the answer


async def test_a_message_that_is_too_large_or_garbage_is_refused() -> None:
    async with a_line(FakeRuntime(), HELLO) as line:
        with pytest.raises(MalformedRequest, match="1054645 bytes; 1054644 are allowed"):
            line.invoker.admit(b"x" * 1_054_645, via="test")
        with pytest.raises(MalformedRequest, match="not an activation message"):
            line.invoker.admit(b"x" * 1_054_644, via="test")

        assert (line.admission.refused_malformed, line.admission.running) == (2, 0)


# --- room ----------------------------------------------------------------------------------------------------------


async def test_room_is_there_at_once_where_nothing_waits() -> None:
    async with a_line(FakeRuntime(), HELLO) as line:
        await line.invoker.room(1 << 20)

        line.begin(LARGE)


async def test_those_who_wait_for_room_get_it_one_after_the_other_in_their_order() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    order: list[int] = []
    async with a_line(runtime, HELLO, intake=ONE) as line:
        line.begin(LARGE)

        async def fetch(number: int) -> None:
            await line.invoker.room(SIZE)
            order.append(number)
            line.begin(LARGE)  # what would be refused without room

        fetching = [asyncio.create_task(fetch(number)) for number in range(5)]
        await asyncio.sleep(0)
        before = list(order)
        runtime.gate.set()
        await asyncio.gather(*fetching)

        assert before == []
        assert order == [0, 1, 2, 3, 4]
        assert not any(line.admission.refused_busy.values())


async def test_who_gives_up_waiting_for_room_holds_nobody_up() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    async with a_line(runtime, HELLO, intake=ONE) as line:
        line.begin(LARGE)
        first, second, third = (asyncio.create_task(line.invoker.room(SIZE)) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        runtime.gate.set()

        await third
        await asyncio.wait({first, second})


async def test_room_comes_when_the_store_has_taken_its_records() -> None:
    store, settings = MemoryActivations(), RecordingSettings(max_bytes=ByteSize(1500))
    async with recording(store, settings) as recorder, a_line(FakeRuntime(), HELLO, recorder=recorder) as line:
        while not recorder.full:
            recorder.submit(an_activation())
        waiting = asyncio.create_task(line.invoker.room(1))
        await asyncio.sleep(0)
        full = recorder.full and not waiting.done()
        await waiting

        assert full
        assert not recorder.full


async def test_who_waits_for_room_is_told_that_the_invoker_drains() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    async with a_line(runtime, HELLO, intake=ONE) as line:
        line.begin(LARGE)
        waiting = [asyncio.create_task(line.invoker.room(SIZE)) for _ in range(3)]
        await asyncio.sleep(0)
        line.invoker.break_off()
        await line.invoker.drain()

        told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in told] == [Draining] * 3


async def test_draining_wakes_who_waits_for_room_though_nothing_moves() -> None:
    settings = RecordingSettings(max_bytes=ByteSize(1))
    async with a_line(FakeRuntime(), HELLO, recording=settings) as line:
        await line.invoke(a_request(HELLO))
        waiting = asyncio.create_task(line.invoker.room(1))
        await asyncio.sleep(0)
        await line.invoker.drain()

        with pytest.raises(Draining):
            await waiting


def test_a_recorder_tells_whoever_asked_when_it_has_stored() -> None:
    told: list[int] = []
    recorder = Recorder(MemoryActivations(), RecordingSettings())
    recorder.when_stored(lambda: told.append(recorder.pending))
    recorder.submit(an_activation())

    async def write() -> None:
        recorder.close()
        await recorder.write_until_closed()

    asyncio.run(write())

    assert told == [0]
