"""What a record survives whose activation may be answered: the store, the process, the disk."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from invoker.config import ByteSize, RecordingSettings, Seconds
from invoker.entities.activation import Activation, ActivationRecord
from invoker.errors import RecordsRefused, SettingsError, StoreUnavailable
from invoker.recording import Recorder, Spool, recording
from invoker.recording.segment import Segment, refused, segments
from invoker.testing.builders import an_activation
from invoker.testing.stores import MemoryActivations
from tests.core.invocation.line import until
from tests.core.recording.stores import (
    QUICK,
    GatedStore,
    PoisonedStore,
    ScriptedStore,
    ids_of,
    left_behind,
    refused_ids,
    some,
    spooled,
    spooled_ids,
)

DISK = replace(QUICK, safety="disk")
BRIEF = replace(QUICK, grace=Seconds(0.001))
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def occupied(directory: Path) -> None:
    """Let there be something else in its place."""
    directory.write_text("mine")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let segments be small, and little be held in memory."""
    for module in ("spool", "spool_writer"):
        monkeypatch.setattr(f"invoker.recording.{module}.SEGMENT", 10_000)
    monkeypatch.setattr("invoker.recording.recorder._HELD", 40_000)
    monkeypatch.setattr("invoker.recording.spool_writer._RETRY", 0.001)
    monkeypatch.setattr("invoker.recording.recorder._RETRY", 0.001)


def submitted(recorder: Recorder, records: Iterable[Activation]) -> list[asyncio.Future[None]]:
    """Submit records in one turn of the event loop; return what is done when they are safe."""
    found = [recorder.submit(record) for record in records]
    assert None not in found
    return [safe for safe in found if safe is not None]


# --- file ---------------------------------------------------------------------------------------------------------


async def test_a_record_is_in_a_file_before_its_activation_is_answered(directory: Path) -> None:
    records = some(3)
    async with spooled(GatedStore(), directory, BRIEF) as recorder:
        safe = submitted(recorder, records)
        before = [each.done() for each in safe]
        await asyncio.gather(*safe)

        assert before == [False] * 3
        assert spooled_ids(directory) == ids_of(records)
        assert recorder.pending == 3


async def test_what_ends_in_one_turn_is_written_with_one_call(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with spooled(GatedStore(), directory, BRIEF) as recorder:
        await asyncio.gather(*submitted(recorder, some(1)))
        write, calls = os.write, []
        monkeypatch.setattr(os, "write", lambda descriptor, data: calls.append(descriptor) or write(descriptor, data))

        await asyncio.gather(*submitted(recorder, some(50)))
        await asyncio.gather(*submitted(recorder, some(50)))

    assert len(calls) == 2


async def test_much_that_ends_in_one_turn_is_written_piece_by_piece(directory: Path, small: None) -> None:
    records = some(100)
    async with spooled(GatedStore(), directory, BRIEF) as recorder:
        safe = submitted(recorder, records)
        await safe[0]
        first = len(spooled_ids(directory))
        await asyncio.gather(*safe)

        assert first < 20
        assert spooled_ids(directory) == ids_of(records)
        assert recorder.pending == 100


async def test_the_spool_forgets_what_the_store_has(directory: Path) -> None:
    async with spooled(store := ScriptedStore(), directory) as recorder:
        await asyncio.gather(*submitted(recorder, some(3)))
        await until(lambda: recorder.stored == 3)
        size = recorder.spool_bytes

        assert (spooled_ids(directory), recorder.pending, recorder.pending_bytes) == ([], 0, 0)
    assert size < 100
    assert segments(directory) == []
    assert len(store.ids) == 3


async def test_what_the_store_has_not_got_is_stored_in_the_next_life(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records, store = some(20), ScriptedStore()
    async with spooled(GatedStore(), directory, BRIEF) as recorder:
        for at in range(0, 20, 5):
            await asyncio.gather(*submitted(recorder, records[at : at + 5]))
    assert recorder.lost == 0
    assert "stay in the spool until the invoker runs again: 20" in caplog.text

    async with spooled(store, directory) as recorder:
        assert (recorder.pending, recorder.age > 0) == (20, True)
        await until(lambda: recorder.pending == 0)

        assert (recorder.replayed, recorder.stored, recorder.pending_bytes, recorder.age) == (20, 20, 0, 0)
    assert store.ids == ids_of(records)


async def test_what_is_old_comes_first_and_holds_up_nothing_new(directory: Path, small: None) -> None:
    old, new, store = some(5), some(5), GatedStore()
    left_behind(directory, *old)

    async with spooled(store, directory) as recorder:
        for record in new:  # safe, though the store has not even got what is old
            await asyncio.gather(*submitted(recorder, [record]))
        store.up.set()
        await until(lambda: recorder.pending == 0)

    assert store.ids == ids_of(old + new)


async def test_what_comes_while_the_last_of_the_old_is_read_waits_behind_it_in_memory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, store = some(2), some(3), ScriptedStore()
    left_behind(directory, *old)
    go_on, read = threading.Event(), Spool.read

    def read_late(spool: Spool, segment: Segment) -> list[ActivationRecord]:
        assert go_on.wait(10)
        return read(spool, segment)

    monkeypatch.setattr(Spool, "read", read_late)
    async with spooled(store, directory, replace(QUICK, batch_size=1)) as recorder:
        await asyncio.sleep(0)  # the first is being read
        safe = submitted(recorder, new[:1])  # behind the second
        await asyncio.gather(*safe)
        go_on.set()
        await until(lambda: recorder.replayed == 3)
        go_on.clear()
        await until(lambda: recorder.pending == 0)
        await asyncio.gather(*submitted(recorder, new[1:]))  # nobody need read them
        await until(lambda: recorder.pending == 0)

    assert store.ids == ids_of(old + new)


async def test_a_store_that_is_down_costs_little_memory(directory: Path, small: None) -> None:
    records, store = [an_activation(logs=("x" * 500,)) for _ in range(300)], GatedStore()
    async with spooled(store, directory) as recorder:
        for at in range(0, 300, 10):
            await asyncio.gather(*submitted(recorder, records[at : at + 10]))
        held = sum(entry.size for entry in recorder._held())
        pending = recorder.pending, recorder.pending_bytes
        store.up.set()
        await until(lambda: recorder.pending == 0)

        assert held < 80_000
        assert pending[0] == 300
        assert pending[1] > 300 * 1200
        assert recorder.pending_bytes == 0
    assert store.ids == ids_of(records)
    assert segments(directory) == []


async def test_what_waits_in_the_spool_counts(directory: Path, small: None) -> None:
    settings = replace(BRIEF, max_bytes=ByteSize(100_000))
    async with spooled(GatedStore(), directory, settings) as recorder:
        while not recorder.full:
            await asyncio.gather(*submitted(recorder, some(1)))
        count = recorder.pending
    assert 60 < count < 100

    async with spooled(GatedStore(), directory, replace(settings, max_bytes=ByteSize(20_000))) as recorder:
        assert (recorder.full, recorder.pending) == (True, count)


async def test_what_comes_in_the_turn_in_which_it_is_left_is_stored(directory: Path) -> None:
    async with spooled(store := ScriptedStore(), directory) as recorder:
        submitted(recorder, some(3))

    assert len(store.ids) == 3
    assert recorder.lost == 0


async def test_a_record_that_no_file_can_have_harms_no_other(directory: Path) -> None:
    good = some(2)
    async with spooled(store := ScriptedStore(), directory) as recorder:
        first = recorder.submit(good[0])
        with pytest.raises((OverflowError, ValueError)):
            recorder.submit(an_activation(start=1 << 70))
        second = recorder.submit(good[1])
        assert first is not None
        assert second is not None
        await asyncio.gather(first, second)

    assert store.ids == ids_of(good)
    assert recorder.pending_bytes == 0


async def test_a_segment_that_can_not_be_read_is_tried_again_and_holds_up_no_other(
    directory: Path, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old, store, read, tries = some(3), ScriptedStore(), Spool.read, 0

    def fail(spool: Spool, segment: Segment) -> list[ActivationRecord]:
        nonlocal tries
        if segment.path.stem.endswith("1"):
            tries += 1
            if tries < 5 or len(store.ids) < 2:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read(spool, segment)

    left_behind(directory, *old)
    monkeypatch.setattr(Spool, "read", fail)
    async with spooled(store, directory) as recorder:
        await until(lambda: tries >= 2)
        assert recorder.pending >= 1
        await until(lambda: recorder.pending == 0)

    assert sorted(store.ids) == sorted(ids_of(old))
    assert "can't be read, and is tried again" in caplog.text


async def test_a_directory_that_can_not_be_used_stops_the_start(directory: Path, occupied: None) -> None:
    with pytest.raises(SettingsError, match=r"node\.state_dir: the spool can't be used .* needs none"):
        async with spooled(ScriptedStore(), directory):
            pytest.fail("it was opened")


# --- a spool that can't be written --------------------------------------------------------------------------------


class Disk:
    """What becomes of writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failure: OSError | None = None
        self.sync_failure: OSError | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.syncs = 0
        write, sync = os.write, os.fdatasync

        def try_to_write(descriptor: int, data: bytes) -> int:
            if self.failure is not None:
                raise self.failure
            return write(descriptor, data)

        def try_to_sync(descriptor: int) -> None:
            self.syncs += 1
            assert self.gate.wait(10)
            if self.sync_failure is not None:
                raise self.sync_failure
            sync(descriptor)

        monkeypatch.setattr(os, "write", try_to_write)
        monkeypatch.setattr(os, "fdatasync", try_to_sync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_on_a_full_disk_nothing_more_is_taken_and_what_ends_is_answered_when_the_store_has_it(
    directory: Path, disk: Disk, small: None
) -> None:
    store = GatedStore()
    async with spooled(store, directory) as recorder:
        await asyncio.gather(*submitted(recorder, some(3)))
        disk.failure = NO_SPACE
        safe = [*submitted(recorder, some(3)), *submitted(recorder, some(2))]
        await until(lambda: recorder.full)
        told = recorder.spool_failure
        unsafe = not any(each.done() for each in safe)
        store.up.set()
        await asyncio.gather(*safe)

        assert unsafe
        assert "No space left" in str(told)
        assert recorder.full
        assert recorder.stored == 8


async def test_when_there_is_room_again_what_was_not_spooled_is_and_more_is_taken(
    directory: Path, disk: Disk, small: None
) -> None:
    store, told = GatedStore(), asyncio.Event()
    async with spooled(store, directory) as recorder:
        recorder.when_stored(told.set)
        disk.failure = NO_SPACE
        safe = submitted(recorder, some(30))
        await until(lambda: recorder.full)
        disk.failure = None
        await asyncio.gather(*safe)
        await told.wait()

        assert not recorder.full
        assert len(spooled_ids(directory)) == 30
        store.up.set()
        await until(lambda: recorder.pending == 0)
    assert len(store.ids) == 30
    assert segments(directory) == []


async def test_a_disk_without_room_is_noticed_though_nothing_ends(directory: Path, disk: Disk, small: None) -> None:
    store, told = ScriptedStore(), asyncio.Event()
    async with spooled(store, directory) as recorder:
        disk.failure = NO_SPACE
        await asyncio.gather(*submitted(recorder, some(1)))  # the store has it
        recorder.when_stored(told.set)
        assert recorder.full
        await asyncio.sleep(0.02)
        assert recorder.full
        disk.failure = None
        await told.wait()

        assert not recorder.full


async def test_an_answer_that_was_given_up_takes_no_record_with_it(directory: Path, disk: Disk, small: None) -> None:
    records, store = some(2), GatedStore()
    async with spooled(store, directory, BRIEF) as recorder:
        disk.failure = NO_SPACE
        safe = submitted(recorder, records)
        await until(lambda: recorder.full)
        safe[0].cancel()
        disk.failure = None
        await safe[1]

        assert spooled_ids(directory) == ids_of(records)


async def test_a_disk_that_is_nearly_full_takes_what_is_under_way_and_nothing_more(
    directory: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spooled(GatedStore(), directory, BRIEF) as recorder:
        monkeypatch.setattr("invoker.recording.spool.RESERVE", 1 << 62)
        await asyncio.gather(*submitted(recorder, some(3)))
        full = recorder.full
        await asyncio.gather(*submitted(recorder, some(3)))
        spooled_there = len(spooled_ids(directory))
        monkeypatch.setattr("invoker.recording.spool.RESERVE", 0)
        await until(lambda: not recorder.full)

        assert (full, spooled_there) == (True, 6)


async def test_it_starts_on_a_disk_that_is_nearly_full_and_takes_nothing(
    directory: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(directory, *some(2))
    monkeypatch.setattr("invoker.recording.spool.RESERVE", 1 << 62)
    async with spooled(store := ScriptedStore(), directory) as recorder:
        assert recorder.full
        await until(lambda: len(store.ids) == 2)


async def test_what_could_neither_be_spooled_nor_stored_is_said_to_be_lost(
    directory: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    async with spooled(GatedStore(), directory, BRIEF) as recorder:
        await asyncio.gather(*submitted(recorder, some(2)))
        disk.failure = NO_SPACE
        submitted(recorder, some(3))

    assert recorder.lost == 3
    assert "3 activation records could not be stored and are lost" in caplog.text
    assert "until the invoker runs again: 2" in caplog.text


# --- disk ---------------------------------------------------------------------------------------------------------


async def test_a_record_is_on_the_disk_before_its_activation_is_answered(directory: Path, disk: Disk) -> None:
    async with spooled(GatedStore(), directory, replace(DISK, grace=Seconds(0.001))) as recorder:
        disk.gate.clear()
        safe = submitted(recorder, some(3))
        await until(lambda: disk.syncs == 1)
        more = [each for _ in range(5) for each in submitted(recorder, some(2))]
        await asyncio.sleep(0)
        before = [each.done() for each in (*safe, *more)]
        disk.gate.set()
        await asyncio.gather(*safe, *more)

        assert not any(before)
        assert disk.syncs == 2  # one for all that came meanwhile


async def test_what_the_store_has_need_not_be_on_the_disk(directory: Path, disk: Disk) -> None:
    async with spooled(ScriptedStore(), directory, DISK) as recorder:
        disk.gate.clear()
        await asyncio.gather(*submitted(recorder, some(3)))
        disk.gate.set()


async def test_what_may_not_have_reached_the_disk_is_written_once_more_elsewhere(
    directory: Path, disk: Disk, small: None
) -> None:
    store, records = GatedStore(), some(3)
    async with spooled(store, directory, DISK) as recorder:
        disk.sync_failure = OSError(errno.EIO, os.strerror(errno.EIO))
        safe = submitted(recorder, records)
        await until(lambda: recorder.full)
        first = segments(directory)
        for _ in range(3):
            await until(lambda seen=disk.syncs: disk.syncs > seen)
        unsafe = not any(each.done() for each in safe)
        disk.sync_failure = None
        await asyncio.gather(*safe)
        await until(lambda: not recorder.full)

        assert unsafe
        assert not set(first) & set(segments(directory))
        assert spooled_ids(directory) == ids_of(records)
        assert recorder.pending == 3
        store.up.set()
        await until(lambda: recorder.pending == 0)
        assert recorder.pending_bytes == 0
    assert store.ids == ids_of(records)


async def test_of_what_only_the_spool_had_there_are_two_then(directory: Path, disk: Disk, small: None) -> None:
    store, records = GatedStore(), some(200)
    async with spooled(store, directory, DISK) as recorder:
        await asyncio.gather(*submitted(recorder, records[:150]))
        assert len(recorder._held()) < 150
        disk.sync_failure = OSError(errno.EIO, os.strerror(errno.EIO))
        safe = submitted(recorder, records[150:])
        await until(lambda: recorder.full)
        disk.sync_failure = None
        await asyncio.gather(*safe)
        store.up.set()
        await until(lambda: recorder.pending == 0)

        assert recorder.pending_bytes == 0
    assert sorted(store.ids) == sorted(ids_of(records))
    assert segments(directory) == []


# --- what stores refuse -------------------------------------------------------------------------------------------


async def test_what_the_store_will_never_take_is_set_aside_with_the_reason(directory: Path) -> None:
    records = some(500)
    poison, too_large = records[77], records[300]

    class Picky(PoisonedStore):
        async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
            await super().put_many(batch)
            if too_large.activation_id in [one.activation_id for one in batch]:
                raise RecordsRefused({too_large.activation_id: "too large"})

    async with spooled(Picky(poison), directory) as recorder:
        await asyncio.gather(*submitted(recorder, records))
        await until(lambda: recorder.pending == 0)

        assert (recorder.stored, recorder.refused, recorder.pending_bytes) == (498, 2, 0)
    reasons = {one.record.activation_id: one.reason for one in refused(directory)}
    assert reasons == {poison.activation_id: "KeyError: 'a bug'", too_large.activation_id: "too large"}
    assert segments(directory) == []


async def test_what_can_not_be_set_aside_stays_in_the_spool(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NO_SPACE

    record = an_activation()
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "set_aside", fail)
        refusing = ScriptedStore(RecordsRefused({record.activation_id: "too large"}))
        async with spooled(refusing, directory) as recorder:
            await asyncio.gather(*submitted(recorder, [record]))
            await until(lambda: recorder.pending == 0)
    assert spooled_ids(directory) == [record.activation_id]

    async with spooled(ScriptedStore(RecordsRefused({record.activation_id: "too large"})), directory) as recorder:
        await until(lambda: recorder.refused == 1)
    assert refused_ids(directory) == [record.activation_id]


async def test_nothing_is_set_aside_while_the_store_is_down(directory: Path) -> None:
    store, records = GatedStore(failure=StoreUnavailable("down")), some(20)
    async with spooled(store, directory) as recorder:
        await asyncio.gather(*submitted(recorder, records))
        for _ in range(30):
            store.tried.clear()
            await store.tried.wait()
        before = recorder.refused, refused_ids(directory)
        store.up.set()

    assert before == (0, [])
    assert store.ids == ids_of(records)


# --- memory -------------------------------------------------------------------------------------------------------


async def test_without_a_spool_an_activation_is_answered_at_once(directory: Path) -> None:
    async with spooled(ScriptedStore(), directory, replace(QUICK, safety="memory")) as recorder:
        assert recorder.submit(an_activation()) is None
        assert spooled_ids(directory) == []


async def test_what_was_spooled_when_that_was_asked_for_is_stored_all_the_same(directory: Path) -> None:
    old, new, store = some(3), some(3), ScriptedStore()
    left_behind(directory, *old)

    async with spooled(store, directory, replace(QUICK, safety="memory")) as recorder:
        for record in new:
            recorder.submit(record)
        await until(lambda: recorder.pending == 0)

    assert sorted(store.ids) == sorted(ids_of(old + new))


async def test_what_the_store_refuses_is_set_aside_though_nothing_is_spooled(directory: Path) -> None:
    record = an_activation()
    store = ScriptedStore(RecordsRefused({record.activation_id: "too large"}))

    async with spooled(store, directory, replace(QUICK, safety="memory")) as recorder:
        recorder.submit(record)

    assert refused_ids(directory) == [record.activation_id]


async def test_memory_needs_no_directory(directory: Path, occupied: None, caplog: pytest.LogCaptureFixture) -> None:
    settings = RecordingSettings(safety="memory")

    async with recording(store := MemoryActivations(), settings, "openwhisk", Spool(directory)) as recorder:
        recorder.submit(an_activation())

    assert len(store.records) == 1
    assert "what the store refuses will be lost" in caplog.text
