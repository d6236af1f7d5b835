"""What silence means where the end of output is late for all containers. Clocks are virtual."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from invoker import Settings
from invoker.config import LogsSettings, Seconds
from invoker.testing.builders import a_request
from invoker.testing.log_extractor import OUT, PLENTY, a_container, end_output
from invoker_attached_logs import open_log_extractor
from invoker_attached_logs.follower import WINDOW, AttachedLogs, Follower
from tests.plugins.logs_attached.virtual import VirtualLoop

REQUEST = a_request()

TIMEOUT = 1.0


class Extractor:
    """Containers whose functions have answered."""

    def __init__(self) -> None:
        self._logs = AttachedLogs("openwhisk", timeout=TIMEOUT)

    def answered(self, *, sentinelled: bool = True, printing_after: float | None = None) -> Follower:
        """Return the follower of a container; its sentinels come when so many seconds have passed, if ever."""
        follower = self._logs.follow(a_container(sentinelled=sentinelled))
        follower.begin(REQUEST, PLENTY)
        if printing_after is not None:
            asyncio.get_running_loop().call_later(printing_after, end_output, follower)
        return follower


def virtually(scenario: Callable[[Extractor], Coroutine[Any, Any, bool]]) -> tuple[bool, float]:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario(Extractor())), runner.get_loop().time()


@pytest.mark.parametrize(("late", "comes", "settled"), [(0.25, 2, True), (0.25, 3, False), (0.0625, 2, False)])
def test_silence_may_last_ten_times_as_long_as_the_last_delays(late: float, comes: float, settled: bool) -> None:  # noqa: FBT001 (a parameter)
    async def scenario(extractor: Extractor) -> bool:
        assert await extractor.answered(printing_after=late).settled(TIMEOUT)
        return await extractor.answered(printing_after=comes).settled(TIMEOUT)

    seconds = comes if settled else max(TIMEOUT, 10 * late)
    assert virtually(scenario) == (settled, late + seconds)


@pytest.mark.parametrize(("given_up", "comes", "settled"), [(1, 1.75, True), (1, 2.25, False), (2, 3.5, True)])
def test_a_wait_in_vain_makes_the_next_one_twice_as_long(given_up: int, comes: float, settled: bool) -> None:  # noqa: FBT001 (a parameter)
    async def scenario(extractor: Extractor) -> bool:
        for _ in range(given_up):
            follower = extractor.answered()
            assert not await follower.settled(TIMEOUT)
            follower.end(expected=True)
        return await extractor.answered(printing_after=comes).settled(TIMEOUT)

    assert virtually(scenario)[0] is settled


def test_a_developer_error_whose_output_does_not_end_teaches_nothing() -> None:
    async def scenario(extractor: Extractor) -> bool:
        follower = extractor.answered()
        assert not await follower.settled(TIMEOUT)
        follower.end(expected=True, error="it failed")
        return await extractor.answered(printing_after=1.75).settled(TIMEOUT)

    assert virtually(scenario) == (False, 2 * TIMEOUT)


@pytest.mark.parametrize(("windows", "settled"), [(0.5, True), (1.5, True), (2.5, False)])
def test_delays_are_forgotten(windows: float, settled: bool) -> None:  # noqa: FBT001 (a parameter)
    async def scenario(extractor: Extractor) -> bool:
        assert await extractor.answered(printing_after=0.5).settled(TIMEOUT)
        await asyncio.sleep(windows * WINDOW)
        return await extractor.answered(printing_after=2).settled(TIMEOUT)

    assert virtually(scenario)[0] is settled


def test_the_worst_of_several_delays_counts() -> None:
    async def scenario(extractor: Extractor) -> bool:
        for late in (0.125, 0.5, 0.25):
            assert await extractor.answered(printing_after=late).settled(TIMEOUT)
        return await extractor.answered(printing_after=4.5).settled(TIMEOUT)

    assert virtually(scenario)[0]


def test_an_end_that_several_wait_for_is_waited_for_longer() -> None:
    async def scenario(extractor: Extractor) -> bool:
        followers = [extractor.answered(printing_after=3) for _ in range(3)]
        return all(await asyncio.gather(*(follower.settled(TIMEOUT) for follower in followers)))

    assert virtually(scenario) == (True, 3)


def test_an_end_that_never_comes_is_given_up_by_several_too() -> None:
    async def scenario(extractor: Extractor) -> bool:
        followers = [extractor.answered() for _ in range(3)]
        return any(await asyncio.gather(*(follower.settled(TIMEOUT) for follower in followers)))

    assert virtually(scenario) == (False, 5)


def test_one_that_has_just_begun_to_wait_proves_nothing() -> None:
    async def scenario(extractor: Extractor) -> bool:
        loop = asyncio.get_running_loop()
        others = []
        loop.call_later(0.75, lambda: others.append(loop.create_task(extractor.answered().settled(TIMEOUT))))
        settled = await extractor.answered().settled(TIMEOUT)
        others[0].cancel()
        return settled

    assert virtually(scenario) == (False, 1)


def test_one_whose_end_was_given_up_is_none_that_waits() -> None:
    async def scenario(extractor: Extractor) -> bool:
        first, second = extractor.answered(), extractor.answered()
        assert not await first.settled(TIMEOUT)
        return await second.settled(TIMEOUT)

    assert virtually(scenario) == (False, 2)


def test_one_that_ended_without_its_sentinels_was_not_late() -> None:
    async def scenario(extractor: Extractor) -> bool:
        dying = extractor.answered()
        asyncio.get_running_loop().call_later(0.5, dying.write, OUT, b"text\n")
        asyncio.get_running_loop().call_later(0.75, dying.closed)
        assert not await dying.settled(TIMEOUT)
        return await extractor.answered().settled(TIMEOUT)

    assert virtually(scenario) == (False, 1.75)


def test_however_late_the_end_is_elsewhere_there_is_a_last_moment() -> None:
    async def scenario(extractor: Extractor) -> bool:
        slow = extractor.answered(printing_after=9)
        for at in range(18):
            asyncio.get_running_loop().call_later(at / 2, slow.write, OUT, b"text\n")
        assert await slow.settled(TIMEOUT)
        return await extractor.answered().settled(TIMEOUT)

    assert virtually(scenario) == (False, 9 + 20)


def test_a_shorter_wait_stays_short() -> None:
    async def scenario(extractor: Extractor) -> bool:
        assert await extractor.answered(printing_after=0.5).settled(TIMEOUT)
        return await extractor.answered().settled(0.25)

    assert virtually(scenario) == (False, 0.75)


def test_silence_where_no_sentinels_are_expected_is_no_delay() -> None:
    async def scenario(extractor: Extractor) -> bool:
        assert await extractor.answered(printing_after=0.5).settled(TIMEOUT)
        return await extractor.answered(sentinelled=False).settled(TIMEOUT)

    assert virtually(scenario) == (False, 1.5)


def test_time_in_which_the_loop_did_not_run_is_no_silence() -> None:
    async def scenario(extractor: Extractor) -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.call_later(0.5, loop.stop_for, 3)
        return await extractor.answered(printing_after=5).settled(TIMEOUT)

    assert virtually(scenario) == (True, 5)


def test_silence_after_the_loop_did_not_run_is_given_up_all_the_same() -> None:
    async def scenario(extractor: Extractor) -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.call_later(0.5, loop.stop_for, 3)
        return await extractor.answered().settled(TIMEOUT)

    assert virtually(scenario) == (False, 6)


def test_a_loop_that_is_always_a_little_late_gives_up_soon() -> None:
    async def scenario(extractor: Extractor) -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.slow_down_by(0.001)
        return await extractor.answered().settled(TIMEOUT)

    settled, seconds = virtually(scenario)

    assert not settled
    assert 1 < seconds < 1.1


def test_containers_that_are_gone_are_forgotten() -> None:
    extractor = AttachedLogs("openwhisk")
    followers = [extractor.follow(a_container()) for _ in range(3)]

    del followers
    gc.collect()

    assert len(extractor._delay._all) == 0


async def test_the_timeout_is_that_of_the_settings() -> None:
    async with open_log_extractor(Settings.of(LogsSettings(timeout=Seconds(7)))) as extractor:
        assert isinstance(extractor, AttachedLogs)
        assert extractor._delay.timeout == 7
