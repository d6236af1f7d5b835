"""Memory: whose is counted, when it is looked at, and what becomes of a container that has too much."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from invoker import Settings
from invoker.errors import Lost
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from invoker_process.warden import processes
from invoker_process.warden.memory import SHORTEST, SampledAccount
from invoker_process.warden.processes import Processes, ProcFS, PSUtil, tree
from tests.plugins.runtime_process.actions import GREEDY_CHILD, LIMIT, loaded, run

MB = 1 << 20
INTERVAL = 0.05


@pytest.fixture
def settings(tmp_path: Path, cgroup: str) -> Settings:
    return Settings.of(ProcessSettings(work_dir=tmp_path, cgroup="auto" if cgroup == "auto" else "off"))


async def end_of(settings: Settings, code: str, *, kind: str = "python:3", **arguments: object) -> Lost:
    """Return how a container ended that runs `code`."""
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, code, kind=kind)
        with pytest.raises(Lost) as caught:
            await run(container, **arguments)
        return caught.value


@pytest.mark.parametrize("daemon", [False, True])
async def test_what_a_child_takes_counts_whether_or_not_it_is_a_daemon(settings: Settings, *, daemon: bool) -> None:
    lost = await end_of(settings, GREEDY_CHILD, daemon=daemon)

    assert lost.state.memory_exhausted
    assert not lost.state.running


async def test_a_greedy_nodejs_action_ends_as_well(settings: Settings, node: str) -> None:
    assert node
    code = "function main() { const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1)) }"

    lost = await end_of(settings, code, kind="nodejs:20")

    assert lost.state.memory_exhausted
    assert lost.state.peak_memory is not None
    assert lost.state.peak_memory > LIMIT * 3 // 4


async def test_a_living_container_tells_the_most_it_has_had(settings: Settings) -> None:
    code = "def main(args):\n    kept = bytearray(60 << 20)\n    return {'size': len(kept)}\n"
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, code)
        before = await container.inspect()
        await run(container)
        after = await container.inspect()

    assert before.running
    assert after.running
    assert before.peak_memory is not None
    assert after.peak_memory is not None
    assert 1 * MB < before.peak_memory < 60 * MB


async def test_what_several_together_take_is_too_much(settings: Settings) -> None:
    code = """
import os
def main(args):
    for _ in range(3):
        if os.fork() == 0:
            kept = bytearray(os.urandom(1 << 20)) * 50
            while True: pass
    while True: pass
"""

    lost = await end_of(settings, code)

    assert lost.state.memory_exhausted


async def test_an_action_within_its_limit_is_left_alone(settings: Settings) -> None:
    code = """
def main(args):
    kept = bytearray(70 << 20)
    return {"length": len(kept)}
"""
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, code)

        results = [await run(container) for _ in range(20)]

        assert results == [{"length": 70 << 20}] * 20
        assert (await container.inspect()).running


async def test_an_end_of_another_cause_is_not_put_on_the_memory(settings: Settings) -> None:
    lost = await end_of(settings, "import os, signal\ndef main(args): os.kill(os.getpid(), signal.SIGKILL)")

    assert (lost.state.exit_code, lost.state.memory_exhausted) == (-9, False)


# --- one account ----------------------------------------------------------------------------------------------


class Table:
    """Processes as the test says they are."""

    def __init__(self) -> None:
        self.parents: dict[int, int] = {}
        self.sizes: dict[int, int] = {1: 0}
        self.shares: dict[int, int] = {}

    def children(self, pid: int) -> list[int]:
        return [child for child, parent in self.parents.items() if parent == pid]

    def resident(self, pid: int) -> int:
        return self.sizes[pid]

    def proportional(self, pid: int) -> int:
        return self.shares.get(pid, self.sizes[pid])


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(table: Table, clock: Clock) -> SampledAccount:
    account = SampledAccount(table, 128 * MB, INTERVAL, clock)
    account.begin(1)
    return account


def look(account: SampledAccount, clock: Clock) -> bool:
    """Look when it is due."""
    assert account.due is not None
    clock.now = account.due
    return account.exhausted()


def pause(account: SampledAccount, clock: Clock) -> float:
    """Return the seconds until the next look."""
    assert account.due is not None
    return account.due - clock.now


def test_nothing_is_looked_at_before_it_is_due(account: SampledAccount, table: Table, clock: Clock) -> None:
    table.sizes[1] = 500 * MB
    clock.now += INTERVAL / 2

    assert not account.exhausted()
    assert account.peak is None


def test_a_quiet_container_is_looked_at_once_an_interval(account: SampledAccount, table: Table, clock: Clock) -> None:
    table.sizes[1] = 40 * MB

    assert not look(account, clock)
    assert not look(account, clock)
    assert pause(account, clock) == pytest.approx(INTERVAL)


def test_one_that_grows_is_looked_at_before_it_can_reach_the_limit(
    account: SampledAccount, table: Table, clock: Clock
) -> None:
    table.sizes[1] = 20 * MB
    look(account, clock)
    table.sizes[1] = 70 * MB  # 1,000 MB a second: the other 58 would take 58 ms, or half of it at twice the rate
    look(account, clock)

    assert pause(account, clock) == pytest.approx(0.029)


def test_one_that_is_near_its_limit_is_looked_at_more_often(
    account: SampledAccount, table: Table, clock: Clock
) -> None:
    table.sizes[1] = 120 * MB
    look(account, clock)
    look(account, clock)

    assert pause(account, clock) == pytest.approx(INTERVAL / 8)


def test_looks_have_a_shortest_pause(account: SampledAccount, table: Table, clock: Clock) -> None:
    table.sizes[1] = 20 * MB
    look(account, clock)
    table.sizes[1] = 127 * MB
    look(account, clock)

    assert pause(account, clock) == pytest.approx(SHORTEST)


def test_the_whole_tree_is_added_up(account: SampledAccount, table: Table, clock: Clock) -> None:
    table.sizes.update({1: 40 * MB, 2: 40 * MB, 3: 40 * MB, 4: 20 * MB})
    table.parents.update({2: 1, 3: 2, 4: 3})

    assert look(account, clock)
    assert account.peak == 140 * MB
    assert account.due is None


def test_what_forks_share_is_counted_once(account: SampledAccount, table: Table, clock: Clock) -> None:
    table.sizes.update({1: 80 * MB, 2: 80 * MB})
    table.parents.update({2: 1})
    table.shares.update({1: 42 * MB, 2: 41 * MB})

    assert not look(account, clock)
    assert account.peak == 83 * MB


def test_what_was_exhausted_stays_so(account: SampledAccount, table: Table, clock: Clock) -> None:
    table.sizes[1] = 200 * MB
    look(account, clock)
    table.sizes[1] = 0

    assert account.exhausted()
    assert account.peak == 200 * MB


# --- looking at real processes --------------------------------------------------------------------------------

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


@pytest.fixture(params=[ProcFS, PSUtil])
def eyes(request: pytest.FixtureRequest) -> Processes:
    kind: Callable[[], Processes] = request.param
    return kind()


@pytest.fixture
def family() -> Iterator[int]:
    """A process that keeps 40 MB and shares them with its two children."""
    command = [sys.executable, "-I", "-S", "-c", FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        for _ in range(3):
            assert parent.stdout.readline() == b"there\n"
        members = list(tree(ProcFS(), parent.pid))
        yield parent.pid
        for pid in members:
            os.kill(pid, 9)


def test_a_tree_is_seen_whole(eyes: Processes, family: int) -> None:
    assert len(list(tree(eyes, family))) == 3
    assert len(eyes.children(family)) == 2


def test_what_is_shared_is_resident_in_each_and_proportional_once(eyes: Processes, family: int) -> None:
    members = list(tree(eyes, family))

    resident = sum(map(eyes.resident, members))
    proportional = sum(map(eyes.proportional, members))

    assert resident > 120 * MB
    assert proportional < 70 * MB


def test_what_is_gone_has_no_children_and_no_memory(eyes: Processes) -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()

    assert (eyes.children(process.pid), eyes.resident(process.pid), eyes.proportional(process.pid)) == ([], 0, 0)


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

        children = ProcFS().children(parent.pid)

        parent.communicate()
    assert len(children) == 1000


def test_linux_is_looked_at_directly() -> None:
    assert isinstance(processes.visible(), ProcFS)
