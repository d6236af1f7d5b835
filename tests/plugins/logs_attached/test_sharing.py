"""Activations that share a container: spec 9.11.12, 10.12. Their output is nobody's, and nobody else's either."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.contracts import Logs
from invoker.entities.container import Stream
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request
from invoker.testing.log_extractor import ERR, OUT, PLENTY, a_container, end_output, texts
from invoker_attached_logs.follower import AttachedLogs, Follower

REQUEST = a_request()

STREAMS = (OUT, ERR)


def steps(silent: st.SearchStrategy[bool]) -> st.SearchStrategy[list[tuple[str, ...]]]:
    """What a pool and its functions may do, in any order; some of which print no sentinel at their end."""
    return st.lists(
        st.one_of(
            st.tuples(st.just("begin")),
            st.tuples(
                st.just("print"), st.integers(0, 9), st.sampled_from(STREAMS), st.sampled_from(["word", "end\n"])
            ),
            st.tuples(st.just("finish"), st.integers(0, 9), st.booleans(), silent),
            st.tuples(st.just("deliver"), st.sampled_from(STREAMS), st.integers(1, 90)),
        ),
        max_size=60,
    )


def a_follower(*, sentinelled: bool = True) -> Follower:
    return AttachedLogs("openwhisk", lambda: 1_700_000_000_000_000_000).follow(a_container(sentinelled=sentinelled))


def ended(follower: Follower) -> Logs:
    return follower.end(expected=True)


def shared_by(follower: Follower, count: int) -> None:
    follower.begin(REQUEST, PLENTY)
    for _ in range(count - 1):
        follower.join(REQUEST)


class Shared:
    """A container whose output is on its way for a while, and the pool that lends it to one activation or several.

    What an activation prints has its number in front: `<3>`.
    """

    def __init__(self) -> None:
        self.follower = a_follower()
        self.begun = 0
        self.running: list[int] = []
        self.healthy = True
        """Every sentinel came, and was waited for."""
        self._together = False
        self._printed: dict[Stream, bytes] = {}
        self._on_its_way = dict.fromkeys(STREAMS, b"")

    def begin(self) -> None:
        if self.running:
            self.follower.join(REQUEST)
            self._together = True
        else:
            self.follower.begin(REQUEST, PLENTY)
            self._together = False
            self._printed = dict.fromkeys(STREAMS, b"")
        self.begun += 1
        self.running.append(self.begun)

    def print(self, which: int, stream: Stream, text: str) -> None:
        if self.running:
            number = self.running[which % len(self.running)]
            tagged = f"<{number}>{text}".encode()
            self._on_its_way[stream] += tagged
            self._printed[stream] += tagged

    def finish(self, which: int, patient: bool, silent: bool) -> None:  # noqa: FBT001 (drawn)
        if self.running:
            number = self.running.pop(which % len(self.running))
            self.healthy = self.healthy and not silent
            for stream in STREAMS:
                self._on_its_way[stream] += b"" if silent else SENTINEL_LINE
            if not self.running:
                self._end(number, patient=patient)

    def deliver(self, stream: Stream, count: int) -> None:
        chunk, self._on_its_way[stream] = self._on_its_way[stream][:count], self._on_its_way[stream][count:]
        if chunk:
            self.follower.write(stream, chunk)

    def _end(self, number: int, *, patient: bool) -> None:
        if patient and not self._together:
            for stream in STREAMS:
                self.deliver(stream, len(self._on_its_way[stream]))
        logs = ended(self.follower)
        if self._together:
            assert logs == Logs(())
            return
        printed = [text for _, text in texts(logs)]
        assert {*re.findall(r"<\d+>", "".join(printed))} <= {f"<{number}>"}, printed
        if patient and self.healthy:
            assert logs.complete
            assert logs.reusable
            for stream in STREAMS:
                lines = self._printed[stream].decode().splitlines()
                assert [text for origin, text in texts(logs) if origin == stream.value] == lines
        else:
            self.healthy = self.healthy and logs.complete


@given(steps(silent=st.just(False)))  # noqa: FBT003 (drawn)
def test_no_line_of_one_activation_is_in_the_logs_of_another(steps: list[tuple[str, ...]]) -> None:
    shared = Shared()

    for name, *arguments in steps:
        getattr(shared, name)(*arguments)


@given(steps(silent=st.booleans()))
def test_neither_if_some_never_print_a_sentinel(steps: list[tuple[str, ...]]) -> None:
    shared = Shared()

    for name, *arguments in steps:
        getattr(shared, name)(*arguments)


def test_as_many_sentinels_as_are_missing_are_passed_by() -> None:
    follower = a_follower()
    shared_by(follower, 3)
    follower.write(OUT, SENTINEL_LINE)
    assert ended(follower) == Logs(())

    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"late\n" + SENTINEL_LINE + b"late\n" + SENTINEL_LINE + b"alone\n")
    follower.write(ERR, SENTINEL_LINE * 3)
    end_output(follower)

    assert ended(follower) == Logs((f"{'2023-11-14T22:13:20Z':<30} stdout: alone",))
    assert follower.dropped_bytes == len(b"late\nlate\n")


def test_a_stale_sentinel_may_come_in_pieces_around_the_next_beginning() -> None:
    for at in range(1, len(SENTINEL_LINE)):
        follower = a_follower()
        shared_by(follower, 2)
        follower.write(ERR, SENTINEL_LINE * 2)
        follower.write(OUT, SENTINEL_LINE + b"late" + SENTINEL_LINE[:at])
        ended(follower)

        follower.begin(REQUEST, PLENTY)
        follower.write(OUT, SENTINEL_LINE[at:] + b"alone\n")
        end_output(follower)

        assert texts(ended(follower)) == [("stdout", "alone")]
        assert follower.dropped_bytes == len(b"late")


def test_a_thousand_stale_sentinels_come_in_one_chunk() -> None:
    follower = a_follower()
    shared_by(follower, 1000)
    ended(follower)

    follower.begin(REQUEST, PLENTY)
    for stream in STREAMS:
        follower.write(stream, (b"late\n" + SENTINEL_LINE) * 1000 + b"alone\n" + SENTINEL_LINE)

    assert texts(ended(follower)) == [("stdout", "alone"), ("stderr", "alone")]
    assert follower.dropped_bytes == 2 * 1000 * len(b"late\n")


def test_activations_may_share_again_while_sentinels_are_missing() -> None:
    follower = a_follower()
    shared_by(follower, 2)
    ended(follower)

    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, SENTINEL_LINE)
    follower.join(REQUEST)
    assert ended(follower) == Logs(())

    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, SENTINEL_LINE * 3 + b"alone\n")
    follower.write(ERR, SENTINEL_LINE * 4)
    end_output(follower)
    logs = ended(follower)
    assert (texts(logs), logs.complete, logs.reusable) == ([("stdout", "alone")], True, True)


def test_one_that_begins_and_never_ends_gives_nothing_away() -> None:
    follower = a_follower()
    shared_by(follower, 2)
    ended(follower)
    follower.begin(REQUEST, PLENTY)

    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"late\n" + SENTINEL_LINE)

    assert ("stdout", "late") not in texts(ended(follower))


def test_what_comes_after_logs_that_were_given_up_is_dropped_with_a_count() -> None:
    follower = a_follower()
    shared_by(follower, 2)
    ended(follower)
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, SENTINEL_LINE)
    ended(follower)

    follower.write(OUT, b"late\n" + SENTINEL_LINE + b"late too\n" + SENTINEL_LINE)
    follower.begin(REQUEST, PLENTY)

    assert follower.dropped_bytes == len(b"late\nlate too\n")


async def test_nobody_waits_for_output_that_nobody_gets() -> None:
    follower = a_follower()
    shared_by(follower, 2)
    follower.write(OUT, SENTINEL_LINE)

    assert await follower.settled(60)


def test_what_was_printed_before_another_joined_is_dropped_with_a_count() -> None:
    follower = a_follower()
    follower.write(OUT, b"boot\n")
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"one\ntwo\n")
    follower.write(ERR, b"x" * 100 + b"unfin")

    follower.join(REQUEST)
    follower.write(ERR, b"ished\n")

    assert ended(follower) == Logs(())
    follower.begin(REQUEST, PLENTY)
    assert follower.dropped_bytes == len(b"boot\none\ntwo\nunfinished\n") + 100


def test_what_was_cut_at_the_limit_is_counted_as_far_as_it_was_kept() -> None:
    follower = a_follower()
    follower.begin(REQUEST, 50)
    follower.write(OUT, b"kept\n" + b"x" * 100 + b"\n")

    follower.join(REQUEST)

    assert follower.dropped_bytes == len(b"kept\n")


def test_more_sentinels_than_activations_are_forged() -> None:
    follower = a_follower()
    shared_by(follower, 2)
    follower.write(OUT, SENTINEL_LINE * 3)

    assert ended(follower) == Logs((), reusable=False)


@pytest.mark.parametrize("early", [0, 1, 2])
def test_a_failure_among_several_adds_no_line(early: int) -> None:
    follower = a_follower()
    shared_by(follower, 2)
    for _ in range(early):
        end_output(follower)

    assert follower.end(expected=True, error="it failed") == Logs(())


def test_the_limit_of_the_next_activation_holds_behind_stale_sentinels() -> None:
    follower = a_follower()
    shared_by(follower, 2)
    ended(follower)

    follower.begin(REQUEST, 0)
    for stream in STREAMS:
        follower.write(stream, (b"late\n" + SENTINEL_LINE) * 2 + b"text\n" * 100 + SENTINEL_LINE)

    assert ended(follower) == Logs(())


def test_images_without_sentinels_share_too() -> None:
    follower = a_follower(sentinelled=False)
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"first\nunfin")
    follower.join(REQUEST)
    follower.write(OUT, b"ished\n")
    shared = follower.end(expected=False)
    follower.write(OUT, b"late\n")

    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"alone\n")
    alone = follower.end(expected=False)
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"alone again\n")
    again = follower.end(expected=False)

    assert shared == Logs(())
    assert [texts(each) for each in (alone, again)] == [[("stdout", "alone")], [("stdout", "alone again")]]
    assert follower.dropped_bytes == len(b"first\nunfinished\nlate\n")
