"""Samples: processes and their memory, looked at while they live; when that is done, and what counts."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from invoker_process import sampling
from invoker_process.sampling import (
    MEMORY,
    PROCESSES,
    SHORTEST,
    UNSURE,
    Sampler,
    look,
    proportional,
    resident,
    tree,
)

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


@pytest.fixture
def family() -> Iterator[int]:
    """A process that keeps 40 MB and shares them with its two children."""
    command = [sys.executable, "-I", "-S", "-c", FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        for _ in range(3):
            assert parent.stdout.readline() == b"there\n"
        members, _ = tree(parent.pid)
        yield parent.pid
        for pid in members:
            os.kill(pid, 9)


def test_a_tree_is_seen_whole(family: int) -> None:
    members, tasks = tree(family)

    assert len(members) == tasks == 3
    assert look(family) == (1, members[1:])


def test_of_too_many_processes_not_all_are_seen(family: int) -> None:
    assert tree(family, 1)[1] == 2


THREADS = """
import threading
for _ in range(4):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("there", flush=True)
threading.Event().wait()
"""


def test_threads_count_as_processes() -> None:
    command = [sys.executable, "-I", "-S", "-c", THREADS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"

        found = tree(process.pid)

        process.kill()
    assert found == ([process.pid], 5)


def test_what_is_shared_is_resident_in_each_and_proportional_once(family: int) -> None:
    members, _ = tree(family)

    assert sum(map(resident, members)) > 120 * MB
    assert sum(map(proportional, members)) < 70 * MB


def test_what_is_gone_has_no_threads_no_children_and_no_memory() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()

    assert look(process.pid) == (0, [])
    assert (resident(process.pid), proportional(process.pid)) == (0, 0)


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

        _, children = look(parent.pid)

        parent.communicate()
    assert len(children) == 1000


# --- when it is looked, and what counts -----------------------------------------------------------------------


class PlayedProcesses:
    """Processes as the test says they are."""

    def __init__(self) -> None:
        self.parents: dict[int, int] = {}
        self.threads: dict[int, int] = {}
        self.sizes: dict[int, int] = {1: 0}
        self.shares: dict[int, int] = {}

    def look(self, pid: int) -> tuple[int, list[int]]:
        return self.threads.get(pid, 1), [child for child, parent in self.parents.items() if parent == pid]

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
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedProcesses:
    played = PlayedProcesses()
    for name in ("look", "resident", "proportional"):
        monkeypatch.setattr(sampling, name, getattr(played, name))
    return played


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def sampler(played: PlayedProcesses, clock: SetClock) -> Sampler:
    return Sampler(1, {MEMORY: 128 * MB, PROCESSES: 100}, INTERVAL, clock)


def sample(sampler: Sampler, clock: SetClock, after: float = 0) -> str:
    """Look when it is due, or some seconds later."""
    assert sampler.due is not None
    clock.now = sampler.due + after
    return sampler.exceeded()


def pause(sampler: Sampler, clock: SetClock) -> float:
    """Return the seconds until the next look."""
    assert sampler.due is not None
    return sampler.due - clock.now


def test_nothing_is_looked_at_before_it_is_due(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes[1] = 500 * MB
    clock.now += INTERVAL / 2

    assert not sampler.exceeded()


def test_a_quiet_container_is_looked_at_once_an_interval(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    played.sizes[1] = 40 * MB

    assert not sample(sampler, clock)
    assert not sample(sampler, clock)
    assert pause(sampler, clock) == pytest.approx(INTERVAL)


def test_one_that_grows_is_looked_at_before_it_can_reach_the_limit(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    played.sizes[1] = 20 * MB
    sample(sampler, clock)
    played.sizes[1] = 70 * MB  # 1,000 MB a second: the other 58 would take 58 ms, or half of it at twice the rate
    sample(sampler, clock)

    assert pause(sampler, clock) == pytest.approx(0.029)


def test_one_that_is_near_its_limit_is_looked_at_more_often(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    played.sizes[1] = 120 * MB
    sample(sampler, clock)
    sample(sampler, clock)

    assert pause(sampler, clock) == pytest.approx(INTERVAL / 8)


def test_looks_have_a_shortest_pause(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes[1] = 20 * MB
    sample(sampler, clock)
    played.sizes[1] = 127 * MB
    sample(sampler, clock)

    assert pause(sampler, clock) == pytest.approx(SHORTEST)


def test_the_whole_tree_is_added_up(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes.update({1: 40 * MB, 2: 40 * MB, 3: 40 * MB, 4: 20 * MB})
    played.parents.update({2: 1, 3: 2, 4: 3})
    sample(sampler, clock)

    assert sample(sampler, clock, INTERVAL) == MEMORY
    assert sampler.peak() == 140 * MB
    assert sampler.due is None


def test_what_forks_share_is_counted_once(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes.update({1: 80 * MB, 2: 80 * MB})
    played.parents.update({2: 1})
    played.shares.update({1: 42 * MB, 2: 41 * MB})

    assert not sample(sampler, clock)
    assert not sample(sampler, clock, INTERVAL)
    assert sampler._last[MEMORY] == 83 * MB


def test_processes_that_change_are_not_asked_what_they_share(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sampling, "proportional", lambda pid: asked.append(pid) or 0)  # who asks a fork bomb waits
    for pid in range(2, 40):
        played.parents[pid] = 1
        played.sizes[pid] = 20 * MB
        assert not sample(sampler, clock)

    assert asked == []
    assert pause(sampler, clock) == pytest.approx(INTERVAL / 8)
    assert not sample(sampler, clock, INTERVAL)  # they have been the same since
    assert asked == list(range(1, 40))


def test_processes_that_change_for_long_are_asked_as_well(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    def change(pid: int) -> None:
        played.parents = {2: 1, 3: 1, 4: 1, pid: 1}
        played.sizes = {1: MB, 2: 60 * MB, 3: 60 * MB, 4: 60 * MB, pid: MB}

    change(5)
    assert not sample(sampler, clock)
    change(6)
    assert not sample(sampler, clock, UNSURE / 2)
    change(7)
    assert sample(sampler, clock, UNSURE / 2) == MEMORY


def test_one_that_has_too_much_alone_is_asked_whatever_changes_around_it(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    played.parents.update({2: 1, 3: 1})
    played.sizes.update({1: MB, 2: 129 * MB, 3: MB})

    assert sample(sampler, clock) == MEMORY


def test_what_was_exhausted_stays_so(sampler: Sampler, played: PlayedProcesses, clock: SetClock) -> None:
    played.sizes[1] = 200 * MB
    sample(sampler, clock)
    played.sizes[1] = 0

    assert sampler.exceeded() == MEMORY
    assert sampler.peak() == 200 * MB


def test_too_many_processes_are_too_many_whether_or_not_they_are_threads(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    played.sizes.update({1: MB, 2: MB})
    played.parents.update({2: 1})
    played.threads.update({1: 60, 2: 40})
    within = sample(sampler, clock)

    played.threads[2] = 41

    assert within == ""
    assert sample(sampler, clock) == PROCESSES


def test_one_whose_processes_become_many_is_looked_at_before_they_are_too_many(
    sampler: Sampler, played: PlayedProcesses, clock: SetClock
) -> None:
    sample(sampler, clock)
    played.threads[1] = 51  # 1,000 a second: the other 49 would take 49 ms, or half of it at twice the rate
    sample(sampler, clock)

    assert pause(sampler, clock) == pytest.approx(0.0245)


def test_what_somebody_else_limits_is_not_looked_at(played: PlayedProcesses, clock: SetClock) -> None:
    sampler = Sampler(1, {PROCESSES: 100}, INTERVAL, clock)
    played.sizes[1] = 500 * MB

    assert sample(sampler, clock) == ""
    assert sampler.peak() is None
