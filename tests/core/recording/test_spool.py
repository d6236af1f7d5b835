"""The files of the spool: what they survive, and what is said of what they didn't."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from invoker.config import NodeSettings
from invoker.errors import Occupied
from invoker.recording.segment import HEADER, RefusedRecord, Segment, framed, holder, spool_directory
from invoker.recording.spool import SEGMENT, Spool
from invoker.testing.builders import as_records
from tests.core.recording.stores import ids_of, left_behind, refused_ids, some, spooled_ids

FRAMES = [framed(record) for record in as_records(some(3))]


@contextmanager
def opened(directory: Path) -> Iterator[Spool]:
    spool = Spool(directory)
    spool.open()
    try:
        yield spool
    finally:
        spool.close()


def read(spool: Spool) -> list[str]:
    """Return the ids of all that waits, in order; the store has it then."""
    found = []
    while spool.unread:
        segment = spool.next_unread()
        records = spool.read(segment)
        found += [one.activation_id for one in records]
        spool.done(segment, segment.left)
    return found


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.spool"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_what_was_written_is_read_in_its_order_in_another_life(directory: Path) -> None:
    records = some(12)
    with opened(directory) as spool:
        for at in range(0, 12, 3):
            spool.write([framed(record) for record in as_records(records[at : at + 3])], held=at < 6)

    with opened(directory) as spool:
        assert [segment.left for segment in spool.unread] == [6, 6]
        assert read(spool) == ids_of(records)
        assert (files(directory), spool.size) == ([], 0)


def test_a_batch_is_written_with_one_call(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    write = os.write
    with opened(directory) as spool:
        spool.write(FRAMES, held=True)
        monkeypatch.setattr(os, "write", lambda descriptor, data: calls.append(len(data)) or write(descriptor, data))
        spool.write(FRAMES, held=True)

    assert calls == [sum(map(len, FRAMES))]


def test_a_segment_ends_when_it_is_full_and_is_deleted_when_all_of_it_is_stored(directory: Path) -> None:
    large = framed(as_records(some(1))[0]) + b"\0" * (SEGMENT // 2)
    with opened(directory) as spool:
        first = [spool.write([large], held=True) for _ in range(3)]
        second = spool.write([large], held=True)
        assert len(set(first[:2])) == 1
        assert len(files(directory)) == 2

        spool.done(first[0], 1)
        assert len(files(directory)) == 2
        spool.done(first[1], 1)
        assert files(directory) == [first[2].path]
        assert first[2] is second


def test_a_segment_that_is_being_written_is_emptied_when_all_of_it_is_stored(directory: Path) -> None:
    with opened(directory) as spool:
        segment = spool.write(FRAMES, held=True)
        spool.done(segment, 3)

        assert segment.path.read_bytes() == HEADER
        assert spool.size == len(HEADER)
        spool.write(FRAMES[:1], held=True)
        assert len(spooled_ids(directory)) == 1


def test_it_belongs_to_its_user_alone(directory: Path) -> None:
    with opened(directory) as spool:
        spool.write(FRAMES, held=True)
        spool.set_aside([RefusedRecord("why", *as_records(some(1)))], sync=False)

        assert directory.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


# --- one process at a time ----------------------------------------------------------------------------------------


def test_two_can_not_have_it_at_the_same_time(directory: Path) -> None:
    with opened(directory), pytest.raises(Occupied, match=rf"node\.id: .*process {os.getpid()}") as caught:
        Spool(directory).open()
    assert caught.value.holder == os.getpid()

    with opened(directory):
        pass


def test_who_has_it_can_be_told_until_it_ends(directory: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from invoker.recording.spool import Spool
spool = Spool(Path({str(directory)!r}))
spool.open()
print("open", flush=True)
sys.stdin.read()
"""
    before = holder(directory)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        meanwhile = holder(directory)
        other.kill()

    assert (before, meanwhile, holder(directory)) == (None, other.pid, None)
    with opened(directory):
        pass


def test_every_identity_has_its_own(tmp_path: Path) -> None:
    nodes = [
        NodeSettings(state_dir=tmp_path, id=identity, unique_name=name)
        for identity in (0, 1)
        for name in (None, "a", "a/b", "..")
    ]
    found = {spool_directory(node) for node in nodes}

    assert len(found) == len(nodes)
    assert {path.parent for path in found} == {tmp_path / "spool"}


# --- what was not written as a whole ------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(1, len(FRAMES[2]), 97))
def test_a_torn_tail_is_cut_off_and_said(directory: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    left_behind(directory)
    whole = HEADER + FRAMES[0] + FRAMES[1]
    (directory / "0000000000000007.spool").write_bytes(whole + FRAMES[2][:cut])

    with opened(directory) as spool:
        assert (directory / "0000000000000007.spool").read_bytes() == whole
        assert len(read(spool)) == 2
    assert f"the last {cut} bytes" in caplog.text
    assert list(directory.iterdir()) == [directory / "lock"]


@pytest.mark.parametrize("data", [b"", HEADER[:9], HEADER, bytes(4096), HEADER + FRAMES[0][:7]])
def test_a_segment_without_a_record_is_deleted(directory: Path, data: bytes) -> None:
    directory.mkdir()
    (directory / "0000000000000007.spool").write_bytes(data)

    with opened(directory) as spool:
        assert not spool.unread
        assert files(directory) == []


@pytest.mark.parametrize("at", [0, 4, 8, 12, 100, len(FRAMES[1]) - 1])
def test_damage_costs_the_record_that_it_hit_and_its_file_is_kept(
    directory: Path, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    directory.mkdir()
    path = directory / "0000000000000007.spool"
    damaged = bytearray(FRAMES[1])
    damaged[at] ^= 0xFF
    data = HEADER + FRAMES[0] + damaged + FRAMES[2]
    path.write_bytes(data)

    for _ in range(2):
        with opened(directory) as spool:
            assert [segment.left for segment in spool.unread] == [2]
            assert f"{len(damaged)} bytes of {path} are damaged" in caplog.text
    with opened(directory) as spool:
        assert len(read(spool)) == 2

    assert path.with_suffix(".damaged").read_bytes() == data
    assert files(directory) == []


def test_damage_that_comes_later_is_seen_when_it_is_read(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(directory) as spool:
        segment = spool.write(FRAMES, held=False)
        data = bytearray(segment.path.read_bytes())
        data[-1] ^= 0xFF
        segment.path.write_bytes(data)

        assert len(read(spool)) == 2
    assert "are damaged" in caplog.text
    assert segment.path.with_suffix(".damaged").exists()


@pytest.mark.parametrize("data", [b"functions-invoker spool 2\nwhatever", b"PNG", b"\0\0x" + FRAMES[0]])
def test_what_is_no_file_of_ours_is_left_alone_and_said(
    directory: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    directory.mkdir()
    foreign = directory / "0000000000000007.spool"
    foreign.write_bytes(data)
    (directory / "notes.spool").write_text("mine")

    with opened(directory) as spool:
        assert not spool.unread
        segment = spool.write(FRAMES, held=True)
        assert segment.path.name == "0000000000000008.spool"
    assert foreign.read_bytes() == data
    assert (directory / "notes.spool").read_text() == "mine"
    assert f"{foreign} is no spool file of this version" in caplog.text


def test_a_file_that_was_deleted_is_said_and_stops_nothing(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    left_behind(directory, *some(3))
    with opened(directory) as spool:
        files(directory)[1].unlink()

        assert len(read(spool)) == 2
        assert spool.size == 0
    assert "was deleted, and records with it: 1" in caplog.text


def test_a_directory_that_was_deleted_is_made_again(directory: Path) -> None:
    with opened(directory) as spool:
        (directory / "lock").unlink()
        directory.rmdir()

        spool.write(FRAMES, held=True)

        assert len(spooled_ids(directory)) == 3


# --- a disk that fails --------------------------------------------------------------------------------------------


@contextmanager
def full_after(monkeypatch: pytest.MonkeyPatch, size: int) -> Iterator[None]:
    """Have the disk take so many bytes more."""
    write = os.write

    def write_some(descriptor: int, data: bytes) -> int:
        nonlocal size
        taken = data[: min(size, 100)]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        size -= len(taken)
        return write(descriptor, taken)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_some)
        yield


@pytest.mark.parametrize("size", [0, 7, len(HEADER), 500, 1000])
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_of_what_does_not_fit_nothing_is_there(
    directory: Path, size: int, *, begun: bool, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(directory) as spool:
        if begun:
            spool.write(FRAMES[:1], held=held)
        with full_after(monkeypatch, size), pytest.raises(OSError, match="No space"):
            spool.write(FRAMES[1:], held=held)

        assert len(spooled_ids(directory)) == begun
        assert spool.size == sum(path.stat().st_size for path in files(directory))
        spool.write(FRAMES[1:], held=held)
        assert len(spooled_ids(directory)) == begun + 2
    with opened(directory) as spool:
        assert len(read(spool)) == begun + 2


def test_what_is_half_written_and_can_not_be_cut_off_is_no_record(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(directory) as spool:
        spool.write(FRAMES[:1], held=True)
        with full_after(monkeypatch, 300), monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", fail)
            with pytest.raises(OSError, match="Input/output error"):
                spool.write(FRAMES[1:2], held=True)
        spool.write(FRAMES[2:], held=True)

        assert len(spooled_ids(directory)) == 2


def test_it_says_when_its_disk_is_nearly_full(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(directory) as spool:
        monkeypatch.setattr("invoker.recording.spool.RESERVE", 1 << 62)
        before = spool.short
        spool.write(FRAMES, held=True)

        assert (before, spool.short) == (False, True)


def test_a_segment_is_on_the_disk_with_its_name(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "fdatasync", note)
    with opened(directory) as spool:
        segment = spool.write(FRAMES, held=True)
        spool.sync([segment])
        first, synced = synced, []
        spool.sync([segment])

    assert first[:2] == [segment.path, directory]
    assert synced == [segment.path]


def test_a_segment_that_is_gone_need_not_be_on_the_disk(directory: Path) -> None:
    with opened(directory) as spool:
        spool.sync([Segment(directory / "0000000000000099.spool", held=True, size=0)])


# --- what stores refuse -------------------------------------------------------------------------------------------


def test_what_is_refused_is_kept_with_its_reason_until_it_is_too_much(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("invoker.recording.spool.REFUSED_BYTES", 1000)
    records = some(8)
    with opened(directory) as spool:
        for record in as_records(records):
            spool.set_aside([RefusedRecord("too large", record)], sync=False)

    kept = refused_ids(directory)
    assert kept == ids_of(records)[-len(kept) :]
    assert 3 <= len(kept) <= 4
    assert "older ones are dropped" in caplog.text


def test_a_refused_record_that_was_not_written_as_a_whole_costs_no_other(directory: Path) -> None:
    records = some(3)
    with opened(directory) as spool:
        for number, record in enumerate(as_records(records)):
            spool.set_aside([RefusedRecord("too large", record)], sync=True)
            if number == 1:
                os.truncate(directory / "refused", (directory / "refused").stat().st_size - 9)

    assert refused_ids(directory) == [records[0].activation_id, records[2].activation_id]


def test_what_was_refused_can_be_taken_back(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoker.recording.spool.SEGMENT", 1000)
    records = some(5)
    with opened(directory) as spool:
        spool.set_aside([RefusedRecord("too large", record) for record in as_records(records)], sync=False)

        assert spool.take_back() == 5
        assert refused_ids(directory) == []
        assert spool.take_back() == 0
        assert read(spool) == ids_of(records)


def test_what_can_not_be_taken_back_stays_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(directory) as spool:
        spool.set_aside([RefusedRecord("too large", record) for record in as_records(some(2))], sync=False)
        with full_after(monkeypatch, 1000), pytest.raises(OSError, match="No space"):
            spool.take_back()

        assert len(refused_ids(directory)) == 2
