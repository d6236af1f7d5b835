"""The account of a container's memory: when it is looked at, and what counts."""

import pytest

from invoker_process.warden.memory import SHORTEST, SampledAccount

MB = 1 << 20
INTERVAL = 0.05


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
