"""Records between the answer and the store: batches, failures, and all four ways to leave."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from invoker.config import ByteSize, RecordingSettings, Seconds
from invoker.entities.activation import ActivationRecord
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.recording import Recorder, recording
from invoker.testing.builders import an_activation, an_outcome
from invoker.testing.stores import MemoryActivations
from tests.core.invocation.line import until
from tests.core.recording.stores import QUICK, GatedStore, PoisonedStore, ScriptedStore, ids_of, some
from tests.core.simulation import clock, simulated

FOREVER = Seconds(1000)


async def test_what_was_submitted_is_stored_when_the_recorder_is_left() -> None:
    store, records = ScriptedStore(), some(3)

    async with recording(store, QUICK) as recorder:
        for record in records:
            recorder.submit(record)

    assert store.ids == ids_of(records)
    assert (recorder.stored, recorder.lost, recorder.pending_bytes) == (3, 0, 0)


async def test_records_are_stored_without_anybody_leaving() -> None:
    store = ScriptedStore()

    async with recording(store, QUICK) as recorder:
        recorder.submit(an_activation())
        await store.kept.wait()

        assert len(store.batches) == 1


async def test_stores_get_the_documents_of_their_controllers() -> None:
    class Documents(MemoryActivations):
        async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
            documents.extend(one.document for one in batch)

    documents: list[bytes] = []
    for compat in ("openwhisk", "functions"):
        async with recording(Documents(), QUICK, compat) as recorder:
            recorder.submit(an_activation())

    assert [b'"entityType"' in document for document in documents] == [True, False]


async def test_no_batch_is_larger_than_the_settings_say() -> None:
    store = ScriptedStore()

    async with recording(store, RecordingSettings(batch_size=4)) as recorder:
        for record in some(10):
            recorder.submit(record)

    assert [len(batch) for batch in store.batches] == [4, 4, 2]


async def test_a_batch_ends_before_it_has_too_many_bytes_but_never_empty() -> None:
    store = ScriptedStore()
    large = ("x" * 3000,)

    async with recording(store, RecordingSettings(batch_bytes=ByteSize(5000))) as recorder:
        recorder.submit(an_activation(logs=("x" * 9000,)))
        recorder.submit(an_activation(logs=large))
        recorder.submit(an_activation(logs=large))

    assert [len(batch) for batch in store.batches] == [1, 1, 1]


@simulated
async def test_a_batch_that_is_whole_waits_for_no_company() -> None:
    store, begun = ScriptedStore(), clock()
    number = RecordingSettings(batch_size=4, flush_interval=FOREVER)
    size = RecordingSettings(batch_bytes=ByteSize(3_000_000), flush_interval=FOREVER)

    async with recording(store, number) as recorder:
        for record in some(10):
            recorder.submit(record)
        await until(lambda: recorder.stored == 8)
    async with recording(store, size) as recorder:
        for _ in range(10):  # as 4 clients of a function with large results
            recorder.submit(an_activation(outcome=an_outcome(b'"%b"' % (b"x" * 900_000))))
        await until(lambda: recorder.stored == 9)

    assert [len(batch) for batch in store.batches] == [4, 4, 2, 3, 3, 3, 1]
    assert clock() == begun


@simulated
async def test_the_last_records_wait_for_company_no_longer_than_the_settings_say() -> None:
    store, begun = ScriptedStore(), clock()

    async with recording(store, RecordingSettings(batch_size=4, flush_interval=Seconds(3))) as recorder:
        for record in some(6):
            recorder.submit(record)
        await until(lambda: recorder.stored == 4)
        early = clock() - begun
        await store.kept.wait()
        await asyncio.sleep(4)

        assert (recorder.stored, early) == (6, 0)


async def test_a_store_that_is_down_gets_the_same_batch_until_it_is_up() -> None:
    store = ScriptedStore(StoreUnavailable("down"), StoreUnavailable("down"), StoreUnavailable("down"))
    record = an_activation()

    async with recording(store, QUICK) as recorder:
        recorder.submit(record)
        await store.kept.wait()

    assert (store.batches, recorder.lost) == ([[record.activation_id]], 0)


async def test_a_plugin_that_breaks_costs_no_record(caplog: pytest.LogCaptureFixture) -> None:
    store = ScriptedStore(KeyError("a bug"))

    async with recording(store, QUICK) as recorder:
        recorder.submit(an_activation())
        await store.kept.wait()

    assert recorder.lost == 0
    assert "a bug" in caplog.text


async def test_a_plugin_that_cancels_itself_is_one_that_breaks() -> None:
    class Cancelled(ScriptedStore):
        async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
            if not self.batches and not self.tried.is_set():
                self.tried.set()
                raise asyncio.CancelledError
            await self.keep(batch)

    async with recording(store := Cancelled(), QUICK) as recorder:
        recorder.submit(an_activation())
        await store.kept.wait()

        assert recorder.stored == 1


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
    settings = RecordingSettings(max_bytes=ByteSize(2000), grace=Seconds(0.001))

    async with recording(GatedStore(), settings) as recorder:
        recorder.submit(an_activation())
        before = recorder.full
        recorder.submit(an_activation(logs=("x" * 2000,)))

        assert (before, recorder.full) == (False, True)


@simulated
async def test_a_store_that_does_not_answer_is_told_before_its_time_is_over() -> None:
    async with recording(store := GatedStore(), QUICK) as recorder:
        recorder.submit(an_activation())
        before = recorder.silence
        await store.tried.wait()
        waited = recorder.silence
        store.up.set()
        await store.kept.wait()
        await asyncio.sleep(1)

        assert before == recorder.silence == 0 < waited


@simulated
async def test_a_store_that_never_answers_is_asked_again_when_its_time_is_over() -> None:
    store = GatedStore()
    async with recording(store, replace(QUICK, write_timeout=Seconds(60))) as recorder:
        recorder.submit(an_activation())
        await asyncio.sleep(59)
        before = recorder.failing
        await asyncio.sleep(2)
        after = recorder.failing
        store.up.set()

    assert (before, after, recorder.stored, recorder.failing) == (False, True, 1, False)


# --- records that the store fails on ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 249, 499])
async def test_a_record_that_the_store_fails_on_is_alone_refused(place: int, caplog: pytest.LogCaptureFixture) -> None:
    records = some(500)
    store = PoisonedStore(records[place])

    async with recording(store, QUICK) as recorder:
        for record in records:
            recorder.submit(record)
        await until(lambda: recorder.pending == 0)

    innocent = [record for record in records if record is not records[place]]
    assert (set(store.ids), recorder.stored, recorder.refused) == (set(ids_of(innocent)), 499, 1)
    assert f"{records[place].activation_id}: KeyError: 'a bug'" in caplog.text
    assert store.tries < 3 + 2 * 9 + 10


async def test_several_that_the_store_fails_on_are_found_among_others() -> None:
    records = some(100)
    store = PoisonedStore(*records[3:7], *records[90:])

    async with recording(store, QUICK) as recorder:
        for record in records:
            recorder.submit(record)
        await until(lambda: recorder.pending == 0)

    assert (recorder.stored, recorder.refused) == (86, 14)


async def test_a_record_that_the_store_fails_on_is_refused_though_nothing_else_comes() -> None:
    first, second = some(2)
    store = PoisonedStore(second)

    async with recording(store, QUICK) as recorder:
        recorder.submit(first)
        await store.kept.wait()
        recorder.submit(second)
        await until(lambda: recorder.pending == 0)

    assert (recorder.stored, recorder.refused) == (1, 1)


async def test_the_first_record_of_all_is_refused_once_another_was_stored() -> None:
    first, second = some(2)
    store = PoisonedStore(first)

    async with recording(store, QUICK) as recorder:
        recorder.submit(first)
        await until(lambda: store.tries > 50)
        before = recorder.refused
        recorder.submit(second)
        await until(lambda: recorder.pending == 0)

    assert (before, recorder.stored, recorder.refused) == (0, 1, 1)


async def test_several_and_nothing_else_are_refused_after_a_while() -> None:
    first, *others = some(4)
    store = PoisonedStore(*others)

    async with recording(store, QUICK) as recorder:
        recorder.submit(first)
        await store.kept.wait()
        for record in others:
            recorder.submit(record)
        await until(lambda: recorder.pending == 0)

    assert (recorder.stored, recorder.refused) == (1, 3)


class DownForNewRecords(ScriptedStore):
    """A store without room: what it has it takes once more, of what is new it keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        self.tries += 1
        if self.down and (not batch or any(one.activation_id not in self.ids for one in batch)):
            raise StoreUnavailable("no room")
        await self.keep(batch)


@pytest.mark.parametrize("number", [1, 500])
async def test_nothing_is_refused_while_the_store_is_down(number: int) -> None:
    store = DownForNewRecords()

    async with recording(store, QUICK) as recorder:
        recorder.submit(an_activation())
        await store.kept.wait()
        store.down = True
        for record in some(number):
            recorder.submit(record)
        await until(lambda: store.tries > 50)
        before = recorder.pending
        store.down = False
        await until(lambda: recorder.pending == 0)

    assert (before, recorder.stored, recorder.refused) == (number, number + 1, 0)


async def test_a_store_that_goes_down_while_the_culprit_is_looked_for_costs_nothing() -> None:
    class Failing(PoisonedStore):
        down = False

        async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
            self.down = self.down or len(batch) == 8
            if self.down:
                self.tries += 1
                raise StoreUnavailable("down")
            await super().put_many(batch)

    first, *records = some(65)
    store = Failing(records[0])
    async with recording(store, QUICK) as recorder:
        recorder.submit(first)
        await store.kept.wait()
        for record in records:
            recorder.submit(record)
        await until(lambda: store.down)
        await until(lambda: store.tries > 100)
        before = recorder.refused
        type(store).put_many = PoisonedStore.put_many
        await until(lambda: recorder.pending == 0)

    assert (before, recorder.stored, recorder.refused) == (0, 64, 1)


# --- the ways to leave --------------------------------------------------------------------------------------------


async def test_a_store_that_never_answers_delays_leaving_by_the_grace_and_no_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with recording(GatedStore(), RecordingSettings(grace=Seconds(0.001))) as recorder:
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
    recorder = Recorder(GatedStore(), RecordingSettings())

    recorder.submit(an_activation())

    assert recorder.pending == 1
