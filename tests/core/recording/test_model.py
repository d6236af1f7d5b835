"""Recorder, spool and a flaky store against a model: whatever fails, and whenever the process or the machine dies.

What was safe is in the store or in the spool, nothing is stored twice, memory is bounded, and once all works again
everything is stored.
"""

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from invoker.config import ByteSize, RecordingSettings, Seconds
from invoker.entities.activation import ActivationRecord
from invoker.errors import RecordsRefused, StoreUnavailable
from invoker.recording import Recorder, Spool, recording
from invoker.recording.segment import Segment, segments
from invoker.testing.builders import an_activation
from invoker.testing.stores import MemoryActivations
from tests.core.recording.stores import refused_ids, spooled_ids
from tests.core.simulation import SimulatedLoop

SEGMENT: Final = 5_000
HELD: Final = 20_000
LARGEST: Final = 12_000
SETTINGS: Final = RecordingSettings(batch_size=5, batch_bytes=ByteSize(10_000), max_bytes=ByteSize(100_000))
Mood = Literal["good", "down", "broken", "half", "silent"]


class FlakyStore(MemoryActivations):
    """Outlives the invoker."""

    def __init__(self) -> None:
        super().__init__()
        self.mood: Mood = "good"
        self.poison: set[str] = set()
        self.unwanted: set[str] = set()
        self.puts: dict[str, int] = {}
        """How often each record was new."""

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        await asyncio.sleep(0.01)
        if self.mood == "silent":
            await asyncio.Event().wait()
        if self.mood == "down":
            raise StoreUnavailable("down")
        if self.mood == "broken" or any(one.activation_id in self.poison for one in batch):
            raise ZeroDivisionError("a bug")
        kept = [one for one in batch if one.activation_id not in self.unwanted]
        await self.keep(kept[: len(kept) // 2] if self.mood == "half" else kept)
        if self.mood == "half":
            raise StoreUnavailable("no answer")
        if len(kept) < len(batch):
            raise RecordsRefused(dict.fromkeys(self.unwanted, "unwanted"))

    async def keep(self, batch: Sequence[ActivationRecord]) -> None:
        for one in batch:
            new = (one.namespace, one.activation_id) not in self.records
            self.puts[one.activation_id] = self.puts.get(one.activation_id, 0) + new
        await super().put_many(batch)


class OneThread(SimulatedLoop):
    """Does the work of threads itself; it takes a while."""

    dead = False

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done = self.create_future()

        def work() -> None:
            if not done.done() and not self.dead:
                try:
                    done.set_result(func(*args))
                except Exception as error:  # noqa: BLE001 (whoever waits gets it)
                    done.set_exception(error)

        self.call_later(0.004, work)
        return done


class MortalSpool(Spool):
    """Knows what would be left if the machine died."""

    def __init__(self, directory: Path, synced: dict[Path, bytes]) -> None:
        super().__init__(directory)
        self.synced = synced
        self.broken = False
        """Nothing gets to the disk."""

    def sync(self, which: Iterable[Segment]) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        for segment in which:
            if segment.path.exists():
                self.synced[segment.path] = segment.path.read_bytes()

    def die(self, *, machine: bool) -> None:
        """Leave what a sudden death leaves."""
        for descriptor in {self._lock, -1 if self.active is None else self.active.descriptor} - {-1}:
            os.close(descriptor)
        if machine:
            for path in segments(self._directory):
                path.write_bytes(self.synced.get(path, b""))


class RecordingMachine(RuleBasedStateMachine):
    """Lets no time pass but where a rule says so."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patches = [
            mock.patch("invoker.recording.spool.SEGMENT", SEGMENT),
            mock.patch("invoker.recording.spool_writer.SEGMENT", SEGMENT),
            mock.patch("invoker.recording.recorder._HELD", HELD),
            mock.patch("os.write", self.write),
        ]
        self.real_write = os.write
        for patch in self.patches:
            patch.start()
        self.store = FlakyStore()
        self.synced: dict[Path, bytes] = {}
        self.room: int | None = None
        """Bytes that the disk takes; `None` for all."""
        self.submitted: set[str] = set()
        self.safe: set[str] = set()
        self.answers: dict[str, asyncio.Future[None]] = {}
        self.rewritten = False
        self.leave: asyncio.Event | None = None

    def write(self, descriptor: int, data: bytes) -> int:
        if self.room is None:
            return self.real_write(descriptor, data)
        data = data[: self.room]
        if not data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(data)
        return self.real_write(descriptor, data)

    @initialize(safety=st.sampled_from(["file", "disk"]))
    def begin(self, safety: Literal["file", "disk"]) -> None:
        self.settings = replace(SETTINGS, safety=safety, grace=Seconds(1))
        self.live()

    def live(self) -> None:
        self.loop = OneThread()
        self.leave = asyncio.Event()
        self.synced = {path: data for path, data in self.synced.items() if path.exists()}
        self.spool = MortalSpool(self.folder / "spool", self.synced)
        opened: list[Recorder] = []

        async def life() -> None:
            assert self.leave is not None
            async with recording(self.store, self.settings, "openwhisk", self.spool) as recorder:
                opened.append(recorder)
                await self.leave.wait()

        self.life = self.loop.create_task(life())
        self.store._arrived = asyncio.Condition()
        self.pass_time(0.005)
        (self.recorder,) = opened

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.loop.run_until_idle()
        self.note()

    def note(self) -> None:
        """See which records are safe."""
        done = {one for one, answer in self.answers.items() if answer.done() and not answer.cancelled()}
        self.safe |= done
        self.answers = {one: answer for one, answer in self.answers.items() if one not in done}

    # --- rules ----------------------------------------------------------------------------------------------------

    @rule(
        number=st.sampled_from([1, 1, 2, 5, 20]),
        size=st.sampled_from([0, 0, 100, LARGEST - 2000]),
        kind=st.sampled_from(["good", "good", "good", "poison", "unwanted"]),
        pause=st.booleans(),
    )
    def submit(self, *, number: int, size: int, kind: str, pause: bool) -> None:
        async def end() -> None:
            for place in range(number):
                activation = an_activation(logs=("x" * size,))
                if kind != "good" and not place:
                    getattr(self.store, kind).add(activation.activation_id)
                if not self.recorder.full:
                    answer = self.recorder.submit(activation)
                    assert answer is not None
                    self.submitted.add(activation.activation_id)
                    self.answers[activation.activation_id] = answer
                if pause:
                    await asyncio.sleep(0)

        self.loop.run_until_complete(end())
        self.loop.run_until_idle()
        self.note()

    @rule(seconds=st.sampled_from([0.001, 0.005, 0.01, 0.05, 0.3, 3.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(mood=st.sampled_from(["good", "good", "down", "broken", "half", "silent"]))
    def change_the_store(self, mood: Mood) -> None:
        self.store.mood = mood

    @rule(room=st.sampled_from([0, 10, 500, 2_000, None, None]))
    def change_the_disk(self, room: int | None) -> None:
        self.room = room

    @rule(broken=st.booleans())
    def change_syncing(self, *, broken: bool) -> None:
        self.spool.broken = broken
        self.rewritten |= broken

    @precondition(lambda self: self.answers)
    @rule(which=st.integers(0, 99))
    def give_an_answer_up(self, which: int) -> None:
        one = list(self.answers)[which % len(self.answers)]
        self.answers.pop(one).cancel()

    @rule()
    def stop_and_start(self) -> None:
        assert self.leave is not None
        self.leave.set()
        self.loop.run_until_complete(self.life)
        self.note()
        self.answers.clear()
        kept = spooled_ids(self.folder / "spool")
        assert self.recorder.lost == 0 or self.room is not None or self.spool.broken
        if not self.rewritten:
            assert len(kept) == len(set(kept))
        self.loop.close()
        self.room = None if self.room == 0 else self.room
        self.live()

    @rule()
    def the_process_dies(self) -> None:
        self.die(machine=False)

    @precondition(lambda self: self.settings.safety == "disk")
    @rule()
    def the_machine_dies(self) -> None:
        self.die(machine=True)

    def die(self, *, machine: bool) -> None:
        self.note()
        self.answers.clear()
        self.spool.die(machine=machine)
        mood, self.store.mood, self.loop.dead = self.store.mood, "silent", True
        with mock.patch.object(Spool, "close"), mock.patch.object(Spool, "write", side_effect=OSError):
            for task in (tasks := asyncio.all_tasks(self.loop)):  # only to have them gone: it comes to nothing
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.store.mood = mood
        self.loop.close()
        self.room = None
        self.rewritten = True  # of what was half stored there are two
        self.live()
        self.nothing_safe_is_lost()

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def nothing_safe_is_lost(self) -> None:
        directory = self.folder / "spool"
        there = {activation_id for _, activation_id in self.store.records}
        assert self.safe <= there | set(spooled_ids(directory)) | set(refused_ids(directory))

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        assert all(count <= 1 for count in self.store.puts.values())
        assert set(self.store.puts) <= self.submitted

    @invariant()
    def only_culprits_are_refused(self) -> None:
        assert set(refused_ids(self.folder / "spool")) <= self.store.poison | self.store.unwanted

    @invariant()
    def memory_is_bounded(self) -> None:
        if self.leave is None:
            return
        held = sum(entry.size for entry in self.recorder._held() if entry.segment is not None)
        turn = 20 * LARGEST  # what ends at once is held when there was room before
        assert held <= HELD + turn + SETTINGS.batch_bytes + SEGMENT + LARGEST
        assert self.recorder.pending_bytes >= sum(entry.size for entry in self.recorder._held())

    # --- the end --------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if self.leave is not None:
                self.end_well()
        finally:
            for patch in self.patches:
                patch.stop()
            shutil.rmtree(self.folder)

    def end_well(self) -> None:
        self.room, self.store.mood, self.spool.broken = None, "good", False
        for _ in range(100):
            self.pass_time(70)
            if not self.recorder.pending:
                break
            self.submit(number=1, size=0, kind="good", pause=False)  # the first of a life waits for another
        assert self.leave is not None
        self.leave.set()
        self.loop.run_until_complete(self.life)
        there = {activation_id for _, activation_id in self.store.records}
        directory = self.folder / "spool"
        assert self.safe <= there | set(refused_ids(directory))
        assert (self.recorder.pending, self.recorder.pending_bytes, self.recorder.lost) == (0, 0, 0)
        assert (self.recorder.spool_bytes, segments(directory)) == (0, [])
        self.nothing_is_stored_twice()
        self.loop.close()


TestRecording = RecordingMachine.TestCase
TestRecording.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
