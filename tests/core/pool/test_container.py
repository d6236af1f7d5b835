"""A container's place: whose its output is, and what those are told who wait for its initialisation (spec 9.11.12)."""

import asyncio

import pytest
from invoker.pool.slot import Slot

from invoker.contracts import LogFollower, Logs
from invoker.entities.activation import Status
from invoker.entities.container import Stream
from invoker.entities.request import Request
from invoker.errors import Aborted, Unreachable
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request, a_spec, an_outcome
from invoker_attached_logs.follower import AttachedLogs
from tests.core.pool.simulation import idle, simulated

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

    def end(self, *, expected: bool, failed: bool) -> Logs:
        self.told.append("end")
        return self._follower.end(expected=expected, failed=failed)


def a_slot() -> Slot:
    spec = a_spec()
    return Slot(spec, AttachedLogs("openwhisk").follow(spec), 0.0, lambda _: None)


def finish(slot: Slot, text: bytes = b"") -> None:
    """Print something, and what ends an activation's output."""
    if text:
        slot.write(Stream.STDOUT, text + b"\n")
    slot.write(Stream.STDOUT, SENTINEL_LINE)
    slot.write(Stream.STDERR, SENTINEL_LINE)


def texts(logs: Logs) -> list[str]:
    return [line.partition(": ")[2] for line in logs.lines]


def test_one_after_the_other_each_has_its_logs() -> None:
    slot = a_slot()
    seen = []
    for text in (b"one", b"two"):
        slot.begin_logs(REQUEST, LIMIT)
        finish(slot, text)
        seen.append((slot.alone, texts(slot.end_logs(expected=True, failed=False))))

    assert seen == [(True, ["one"]), (True, ["two"])]


def test_those_who_meet_have_none_and_the_next_one_alone_has_its_own() -> None:
    slot = a_slot()
    slot.begin_logs(REQUEST, LIMIT)
    slot.begin_logs(REQUEST, LIMIT)
    finish(slot, b"whose?")
    first = (slot.alone, slot.end_logs(expected=False, failed=False))
    finish(slot, b"and this?")
    second = (slot.alone, slot.end_logs(expected=False, failed=False))
    slot.begin_logs(REQUEST, LIMIT)
    finish(slot, b"mine")

    assert (first, second) == ((False, Logs(())), (False, Logs(())))
    assert (slot.alone, texts(slot.end_logs(expected=True, failed=False))) == (True, ["mine"])


def test_the_follower_is_told_of_the_first_the_others_and_the_last() -> None:
    slot = a_slot()
    slot.follower = follower = WatchedFollower(slot.follower)
    for _ in range(3):
        slot.begin_logs(REQUEST, LIMIT)
    slot.end_logs(expected=False, failed=False)
    slot.begin_logs(REQUEST, LIMIT)
    for _ in range(3):
        slot.end_logs(expected=False, failed=False)
    slot.begin_logs(REQUEST, LIMIT)
    slot.end_logs(expected=False, failed=True)

    assert follower.told == ["begin", "join", "join", "join", "end", "begin", "end"]


def test_who_breaks_the_rules_among_others_costs_the_container_all_the_same() -> None:
    """T59: three sentinels of two activations."""
    slot = a_slot()
    slot.begin_logs(REQUEST, LIMIT)
    slot.begin_logs(REQUEST, LIMIT)
    for _ in range(3):
        finish(slot)
    first = slot.end_logs(expected=False, failed=False)

    assert (first.reusable, slot.end_logs(expected=False, failed=False)) == (True, Logs((), reusable=False))


@simulated
async def test_who_waits_for_the_initialisation_is_told_how_it_ended() -> None:
    outcome = an_outcome(b'{"error":"no"}', Status.DEVELOPER_ERROR)
    good, bad, forsaken = a_slot(), a_slot(), a_slot()
    waits = [asyncio.ensure_future(slot.initialisation()) for slot in (good, bad, forsaken) for _ in range(2)]
    await idle()

    good.initialised_with(None)
    bad.initialised_with(outcome)
    forsaken.never_initialised()
    ends = await asyncio.gather(*waits, return_exceptions=True)

    assert [type(end) for end in ends] == [type(None)] * 2 + [Aborted] * 2 + [Unreachable] * 2
    assert isinstance(ends[2], Aborted)
    assert ends[2].outcome is outcome


@simulated
async def test_who_asks_late_is_told_the_same() -> None:
    good, bad, forsaken = a_slot(), a_slot(), a_slot()
    good.initialised_with(None)
    bad.initialised_with(an_outcome(b'{"error":"no"}', Status.DEVELOPER_ERROR))
    forsaken.never_initialised()

    await good.initialisation()
    with pytest.raises(Aborted):
        await bad.initialisation()
    with pytest.raises(Unreachable):
        await forsaken.initialisation()


@simulated
async def test_the_first_word_counts() -> None:
    """Whoever has initialised it, or failed to, leaves at once and has it removed."""
    good, bad = a_slot(), a_slot()
    waits = [asyncio.ensure_future(slot.initialisation()) for slot in (good, bad)]
    await idle()

    good.initialised_with(None)
    bad.initialised_with(an_outcome(b'{"error":"no"}', Status.DEVELOPER_ERROR))
    for slot in (good, bad):
        slot.never_initialised()
    ends = await asyncio.gather(*waits, return_exceptions=True)

    assert [type(end) for end in ends] == [type(None), Aborted]
