"""One container: whose its output is, and what those are told who wait for its initialisation (spec 9.11.12)."""

import asyncio

from invoker.contracts import LogFollower, Logs
from invoker.entities.activation import Status
from invoker.entities.container import Stream
from invoker.entities.request import Request
from invoker.errors import Aborted, Unreachable
from invoker.pool.container import ContainerLogs, PooledContainer, Waiter
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request, a_spec, an_outcome
from invoker_attached_logs.follower import AttachedLogs
from tests.core.pool.workshop import a_container

REQUEST = a_request()

LIMIT = 10 << 20


class WatchedFollower(LogFollower):
    """The real follower, and what it was told."""

    def __init__(self, follower: LogFollower) -> None:
        self.told: list[str] = []
        self._follower = follower

    def write(self, stream: Stream, chunk: bytes) -> None:
        self._follower.write(stream, chunk)

    def closed(self) -> None:
        self._follower.closed()

    def begin(self, request: Request, limit: int) -> None:
        self.told.append("begin")
        self._follower.begin(request, limit)

    def join(self, request: Request) -> None:
        self.told.append("join")
        self._follower.join(request)

    async def settled(self, timeout: float) -> bool:  # noqa: ASYNC109 (a contract)
        return await self._follower.settled(timeout)

    def end(self, *, expected: bool, error: str | None = None) -> Logs:
        self.told.append("end")
        return self._follower.end(expected=expected, error=error)


def finish(logs: ContainerLogs, text: bytes = b"") -> None:
    """Print something, and what ends an activation's output."""
    if text:
        logs.write(Stream.STDOUT, text + b"\n")
    logs.write(Stream.STDOUT, SENTINEL_LINE)
    logs.write(Stream.STDERR, SENTINEL_LINE)


def texts(logs: Logs) -> list[str]:
    return [line.partition(": ")[2] for line in logs.lines]


def test_one_after_the_other_each_has_its_logs() -> None:
    logs = a_container().logs
    seen = []
    for text in (b"one", b"two"):
        logs.begin(REQUEST, LIMIT)
        finish(logs, text)
        seen.append((logs.alone, texts(logs.end(expected=True))))

    assert seen == [(True, ["one"]), (True, ["two"])]


def test_those_who_meet_have_none_and_the_next_one_alone_has_its_own() -> None:
    logs = a_container().logs
    logs.begin(REQUEST, LIMIT)
    logs.begin(REQUEST, LIMIT)
    finish(logs, b"whose?")
    first = (logs.alone, logs.end(expected=False))
    finish(logs, b"and this?")
    second = (logs.alone, logs.end(expected=False))
    logs.begin(REQUEST, LIMIT)
    finish(logs, b"mine")

    assert (first, second) == ((False, Logs(())), (False, Logs(())))
    assert (logs.alone, texts(logs.end(expected=True))) == (True, ["mine"])


def test_the_follower_is_told_of_the_first_the_others_and_the_last() -> None:
    follower = WatchedFollower(AttachedLogs("openwhisk").follow(a_spec()))
    logs = ContainerLogs(follower, lambda: None)
    for _ in range(3):
        logs.begin(REQUEST, LIMIT)
    logs.end(expected=False)
    logs.begin(REQUEST, LIMIT)
    for _ in range(3):
        logs.end(expected=False)
    logs.begin(REQUEST, LIMIT)
    logs.end(expected=False, error="it failed")

    assert follower.told == ["begin", "join", "join", "join", "end", "begin", "end"]


def test_who_breaks_the_rules_among_others_costs_the_container_all_the_same() -> None:
    """T59: three sentinels of two activations."""
    logs = a_container().logs
    logs.begin(REQUEST, LIMIT)
    logs.begin(REQUEST, LIMIT)
    for _ in range(3):
        finish(logs)
    first = logs.end(expected=False)

    assert (first.reusable, logs.end(expected=False)) == (True, Logs((), reusable=False))


async def test_who_waits_for_the_logs_waits_for_both_sentinels() -> None:
    logs = a_container().logs
    logs.begin(REQUEST, LIMIT)
    logs.write(Stream.STDOUT, SENTINEL_LINE)
    before = await logs.settled(0)
    logs.write(Stream.STDERR, SENTINEL_LINE)

    assert (before, await logs.settled(0)) == (False, True)


def joined(container: PooledContainer, count: int) -> list[Waiter]:
    """Return those who have a share and wait for the end of `/init`, beside the one who calls it."""
    loop = asyncio.get_running_loop()
    waiters = [Waiter(number=number, since=0.0, moved=False, granted=loop.create_future()) for number in range(count)]
    container.joiners.update(dict.fromkeys(waiters))
    container.active = 1 + count
    return waiters


async def test_those_who_joined_are_told_that_it_is_initialised_and_keep_their_shares() -> None:
    container = a_container()
    waiters = joined(container, 2)

    container.tell_joiners()

    assert [waiter.granted.result() for waiter in waiters] == [container] * 2
    assert (container.active, container.joiners) == (3, {})


async def test_those_who_joined_are_told_why_it_is_not_and_lose_their_shares() -> None:
    container, failure = a_container(), Aborted(an_outcome(b'{"error":"no"}', Status.DEVELOPER_ERROR))
    waiters = joined(container, 2)

    container.tell_joiners(failure)

    assert [waiter.granted.exception() for waiter in waiters] == [failure] * 2
    assert (container.active, container.joiners) == (1, {})


async def test_one_that_has_been_cancelled_gives_its_share_back_by_itself() -> None:
    container = a_container()
    cancelled, other = joined(container, 2)
    cancelled.granted.cancel()

    container.tell_joiners(Unreachable("no"))

    assert other.granted.exception() is not None
    assert (container.active, list(container.joiners)) == (2, [cancelled])
