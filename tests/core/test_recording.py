"""Records between the answer and the store: batches, failures, and all four ways to leave."""

import asyncio
from collections.abc import Sequence

import pytest

from invoker.config import ByteSize, RecordingSettings, Seconds
from invoker.entities.activation import Activation
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.recording import Recorder, recording
from invoker.testing.builders import an_activation

QUICK = RecordingSettings(flush_interval=Seconds(0.001), first_retry=Seconds(0.001), last_retry=Seconds(0.002))


class ScriptedStore:
    """A store that fails as told, then keeps what it is given."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.batches: list[list[str]] = []
        self.tries = 0
        self.kept = asyncio.Event()

    async def put_many(self, batch: Sequence[Activation]) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append([one.activation_id for one in batch])
        self.kept.set()


class SilentStore:
    """A store that never answers."""

    async def put_many(self, batch: Sequence[Activation]) -> None:
        await asyncio.Event().wait()


async def test_what_was_submitted_is_stored_when_the_recorder_is_left() -> None:
    store = ScriptedStore()
    records = [an_activation() for _ in range(3)]

    async with recording(store, QUICK) as recorder:
        for record in records:
            recorder.submit(record)

    assert [one for batch in store.batches for one in batch] == [record.activation_id for record in records]
    assert (recorder.stored, recorder.lost, recorder.pending_bytes) == (3, 0, 0)


async def test_records_are_stored_without_anybody_leaving() -> None:
    store = ScriptedStore()

    async with recording(store, QUICK) as recorder:
        recorder.submit(an_activation())
        await store.kept.wait()

        assert len(store.batches) == 1


async def test_no_batch_is_larger_than_the_settings_say() -> None:
    store = ScriptedStore()

    async with recording(store, RecordingSettings(batch_size=4)) as recorder:
        for _ in range(10):
            recorder.submit(an_activation())

    assert [len(batch) for batch in store.batches] == [4, 4, 2]


async def test_a_batch_ends_before_it_has_too_many_bytes_but_never_empty() -> None:
    store = ScriptedStore()
    large = ("x" * 3000,)

    async with recording(store, RecordingSettings(batch_bytes=ByteSize(5000))) as recorder:
        recorder.submit(an_activation(logs=("x" * 9000,)))
        recorder.submit(an_activation(logs=large))
        recorder.submit(an_activation(logs=large))

    assert [len(batch) for batch in store.batches] == [1, 1, 1]


async def test_a_store_that_is_down_gets_the_same_batch_until_it_is_up() -> None:
    store = ScriptedStore(StoreUnavailable("down"), StoreUnavailable("down"), StoreUnavailable("down"))
    record = an_activation()

    async with recording(store, QUICK) as recorder:
        recorder.submit(record)
        await store.kept.wait()

    assert (store.tries, store.batches, recorder.lost) == (4, [[record.activation_id]], 0)


async def test_a_plugin_that_breaks_costs_no_record(caplog: pytest.LogCaptureFixture) -> None:
    store = ScriptedStore(KeyError("a bug"))

    async with recording(store, QUICK) as recorder:
        recorder.submit(an_activation())
        await store.kept.wait()

    assert recorder.lost == 0
    assert "a bug" in caplog.text


async def test_a_record_that_is_refused_for_good_is_reported_and_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused, kept = an_activation(), an_activation()
    store = ScriptedStore(RecordsRefused({refused.activation_id: "too large"}))

    async with recording(store, QUICK) as recorder:
        recorder.submit(refused)
        recorder.submit(kept)

    assert (store.tries, recorder.refused, recorder.stored, recorder.pending) == (1, 1, 1, 0)
    assert f"{refused.activation_id}: too large" in caplog.text


async def test_it_says_when_it_can_hold_no_more() -> None:
    store = SilentStore()
    settings = RecordingSettings(max_bytes=ByteSize(2000), grace=Seconds(0.001))

    async with recording(store, settings) as recorder:
        recorder.submit(an_activation())
        before = recorder.full
        recorder.submit(an_activation(logs=("x" * 2000,)))

        assert (before, recorder.full) == (False, True)


async def test_a_store_that_never_answers_delays_leaving_by_the_grace_and_no_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with recording(SilentStore(), RecordingSettings(grace=Seconds(0.001))) as recorder:
        recorder.submit(an_activation())

    assert recorder.lost == 1
    assert "1 activation records could not be stored" in caplog.text


async def test_leaving_by_an_exception_stores_what_waits() -> None:
    store = ScriptedStore()

    async def fail() -> None:
        async with recording(store, QUICK) as recorder:
            recorder.submit(an_activation())
            raise LookupError

    with pytest.raises(ExceptionGroup):
        await fail()

    assert len(store.batches) == 1


async def test_leaving_by_cancellation_stores_what_waits() -> None:
    store = ScriptedStore()
    inside = asyncio.Event()

    async def work() -> None:
        async with recording(store, QUICK) as recorder:
            recorder.submit(an_activation())
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(store.batches) == 1


def test_submitting_needs_no_event_loop_and_never_waits() -> None:
    recorder = Recorder(SilentStore(), RecordingSettings())

    recorder.submit(an_activation())

    assert recorder.pending == 1
