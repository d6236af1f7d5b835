"""Samples: processes and their memory, looked at while they live; when that is done, and what counts."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from invoker_process.sampling import SHORTEST, ProcessTable, Sampler

MB = 1 << 20
INTERVAL = 0.05
FAMILY = """
import os, signal, sys
kept = bytearray(os.urandom(1 << 20)) * 40
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        print("there", flush=True)
        signal.pause()
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[True, False], ids=["listed", "scanned"])
def table(request: pytest.FixtureRequest) -> ProcessTable:
    """With a kernel that lists the children of a process, and without."""
    return ProcessTable(listed=request.param)


@pytest.fixture
def family() -> Iterator[int]:
    """A process that keeps 40 MB and shares them with its two children."""
    command = [sys.executable, "-I", "-S", "-c", FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        for _ in range(3):
            assert parent.stdout.readline() == b"there\n"
        members = ProcessTable().tree(parent.pid)
        yield parent.pid
        for pid in members:
            os.kill(pid, 9)


def test_a_tree_is_seen_whole(table: ProcessTable, family: int) -> None:
    assert len(table.tree(family)) == 3
    assert len(table.children(family)) == 2


def test_what_is_shared_is_resident_in_each_and_proportional_once(table: ProcessTable, family: int) -> None:
    members = table.tree(family)

    resident = sum(map(table.resident, members))
    proportional = sum(map(table.proportional, members))

    assert resident > 120 * MB
    assert proportional < 70 * MB


def test_what_is_gone_has_no_children_and_no_memory(table: ProcessTable) -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()

    assert (table.children(process.pid), table.resident(process.pid), table.proportional(process.pid)) == ([], 0, 0)


MANY = """
import os, sys
for _ in range(1000):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print("there", flush=True)
sys.stdin.read()
"""


def test_a_long_list_of_children_is_read_to_its_end() -> None:
    command = [sys.executable, "-I", "-S", "-c", MANY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"there\n"

        children = ProcessTable(listed=True).children(parent.pid)

        parent.communicate()
    assert len(children) == 1000


# --- when it is looked, and what counts -----------------------------------------------------------------------


class PlayedProcesses(ProcessTable):
    """Processes as the test says they are."""

    def __init__(self) -> None:
        super().__init__()
        self.parents: dict[int, int] = {}
        self.sizes: dict[int, int] = {1: 0}
        self.shares: dict[int, int] = {}

    def children(self, pid: int) -> list[int]:
        return [child for child, parent in self.parents.items() if parent == pid]

    def resident(self, pid: int) -> int:
        return self.sizes[pid]

    def proportional(self, pid: int) -> int:
        return self.shares.get(pid, self.sizes[pid])


class SetClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def played() -> PlayedProcesses:
    return PlayedProcesses()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def sampler(played: PlayedProcesses, clock: SetClock) -> Sampler:
    return Sampler(played, 1, 128 * MB, INTERVAL, clock)


def look(sampler: Sampler, clock: SetClock) -> bool:
    """Look when it is due."""
    assert sampler.due is not None
    clock.now = sampler.due
    return sampler.exhausted()


def pause(sampler: Sampler, clock: SetClock) -> float:
    """Return the seconds until the next look."""
    assert sampler.due is not None
    return sampler.due - clock.now


def test_nothing_is_looked_at_before_it_is_due(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes[1] = 500 * MB
    clock.now += INTERVAL / 2

    assert not sampler.exhausted()
    assert sampler.peak(now=False) is None


def test_a_quiet_container_is_looked_at_once_an_interval(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    played.sizes[1] = 40 * MB

    assert not look(sampler, clock)
    assert not look(sampler, clock)
    assert pause(sampler, clock) == pytest.approx(INTERVAL)


def test_one_that_grows_is_looked_at_before_it_can_reach_the_limit(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    played.sizes[1] = 20 * MB
    look(sampler, clock)
    played.sizes[1] = 70 * MB  # 1,000 MB a second: the other 58 would take 58 ms, or half of it at twice the rate
    look(sampler, clock)

    assert pause(sampler, clock) == pytest.approx(0.029)


def test_one_that_is_near_its_limit_is_looked_at_more_often(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    played.sizes[1] = 120 * MB
    look(sampler, clock)
    look(sampler, clock)

    assert pause(sampler, clock) == pytest.approx(INTERVAL / 8)


def test_looks_have_a_shortest_pause(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes[1] = 20 * MB
    look(sampler, clock)
    played.sizes[1] = 127 * MB
    look(sampler, clock)

    assert pause(sampler, clock) == pytest.approx(SHORTEST)


def test_the_whole_tree_is_added_up(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes.update({1: 40 * MB, 2: 40 * MB, 3: 40 * MB, 4: 20 * MB})
    played.parents.update({2: 1, 3: 2, 4: 3})

    assert look(sampler, clock)
    assert sampler.peak(now=False) == 140 * MB
    assert sampler.due is None


def test_what_forks_share_is_counted_once(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes.update({1: 80 * MB, 2: 80 * MB})
    played.parents.update({2: 1})
    played.shares.update({1: 42 * MB, 2: 41 * MB})

    assert not look(sampler, clock)
    assert sampler.peak(now=False) == 83 * MB


def test_what_was_exhausted_stays_so(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes[1] = 200 * MB
    look(sampler, clock)
    played.sizes[1] = 0

    assert sampler.exhausted()
    assert sampler.peak(now=False) == 200 * MB
