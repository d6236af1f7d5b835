"""How log lines look and what they count: spec 8.7, 9.11.17, 9.11.19, T63."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.log_lines import BOOT_LIMIT, LogLines

PLENTY = 1 << 20
NOON = int(datetime(2024, 5, 17, 12, tzinfo=UTC).timestamp()) * 10**9


class Clock:
    """Tells the time it is set to, and how often it was asked."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self.now


def truncated(limit: int) -> str:
    return f"more than {limit}"


def of(limit: int, clock: Clock | None = None) -> LogLines:
    lines = LogLines(truncated, clock or Clock())
    lines.begin(limit)
    return lines


@pytest.mark.parametrize(
    ("nanoseconds", "time"),
    [
        (123_456_789, "2024-05-17T12:00:00.123456789Z"),
        (123_000_000, "2024-05-17T12:00:00.123Z"),
        (1, "2024-05-17T12:00:00.000000001Z"),
        (0, "2024-05-17T12:00:00Z"),
    ],
)
def test_a_line_is_time_in_thirty_columns_stream_and_text(nanoseconds: int, time: str) -> None:
    lines = of(PLENTY, Clock(NOON + nanoseconds))

    lines.add("stdout", ["hello %s {}"])

    assert lines.taken() == ("%-30s %s: %s" % (time, "stdout", "hello %s {}"),)  # noqa: UP031 (spec 9.11.19's own)


def test_the_date_follows_the_clock() -> None:
    clock = Clock(NOON)
    lines = of(PLENTY, clock)
    lines.add("stdout", ["one"])

    clock.now += 86_400 * 10**9
    lines.add("stderr", ["two"])

    assert [line[:20] for line in lines.taken()] == ["2024-05-17T12:00:00Z", "2024-05-18T12:00:00Z"]


def test_the_clock_is_asked_once_for_all_lines_of_a_chunk() -> None:
    clock = Clock()
    lines = of(100, clock)

    lines.add("stdout", ["one", "two", "three", "four"])

    assert clock.asked == 1
    assert lines.full


@pytest.mark.parametrize("text", ["x" * 10, "é" * 5])
def test_a_limit_counts_formatted_bytes_without_newlines(text: str) -> None:
    exact = 30 + len(" stdout: ") + 10

    fits, crosses = of(exact), of(exact - 1)
    fits.add("stdout", [text])
    crosses.add("stdout", [text])

    assert [line[31:] for line in fits.taken()] == [f"stdout: {text}"]
    assert [line[31:] for line in crosses.taken()] == [f"stderr: more than {exact - 1}"]


def test_a_line_that_fits_exactly_is_kept_before_one_that_does_not() -> None:
    lines = of(30 + len(" stdout: ") + 3)

    lines.add("stdout", ["abc", ""])

    assert [line[31:] for line in lines.taken()] == ["stdout: abc", "stderr: more than 42"]


def test_what_comes_after_the_limit_is_gone() -> None:
    lines = of(60)

    lines.add("stdout", ["short", "x" * 100, "y"])
    lines.add("stderr", ["z"])

    assert [line[31:] for line in lines.taken()] == ["stdout: short", "stderr: more than 60"]


@given(st.integers(0, 500), st.lists(st.lists(st.text(max_size=40), max_size=5), max_size=8))
def test_lines_never_exceed_the_limit_by_more_than_one_line(limit: int, batches: list[list[str]]) -> None:
    lines = of(limit)

    for batch in batches:
        lines.add("stdout", (text.encode(errors="replace").decode() for text in batch))

    full = lines.full
    taken = lines.taken()
    assert sum(len(line.encode()) for line in taken[: len(taken) - full]) <= limit
    assert full == any("more than" in line for line in taken[-1:])


def test_lines_before_the_first_activation_count_for_it() -> None:
    lines = LogLines(truncated, Clock())
    lines.add("stdout", ["boot", "boot more"])

    lines.begin(50)

    assert lines.full
    assert [line[31:] for line in lines.taken()] == ["stdout: boot", "stderr: more than 50"]


def test_endless_lines_before_the_first_activation_are_cut() -> None:
    lines = LogLines(truncated, Clock())
    for _ in range(11):
        lines.add("stdout", ["x" * (1 << 20)])

    lines.begin(1 << 40)

    *kept, last = lines.taken()
    assert sum(map(len, kept)) <= BOOT_LIMIT
    assert last.endswith(f"stderr: more than {1 << 40}")


def test_each_activation_begins_without_lines_and_limits_of_earlier_ones() -> None:
    lines = of(40)
    lines.add("stdout", ["x" * 100])

    lines.begin(PLENTY)
    lines.add("stdout", ["y"])

    assert [line[31:] for line in lines.taken()] == ["stdout: y"]
    assert lines.taken() == ()


def test_muted_lines_are_none_until_the_next_activation() -> None:
    lines = LogLines(truncated, Clock())
    lines.add("stdout", ["boot"])
    lines.begin(0)
    lines.mute()
    lines.add("stdout", ["x"])
    muted = lines.taken()

    lines.begin(PLENTY)
    lines.add("stdout", ["y"])

    assert muted == ()
    assert [line[31:] for line in lines.taken()] == ["stdout: y"]


def test_a_note_is_made_whatever_the_limit() -> None:
    lines = of(0)

    lines.note("said by the invoker")

    assert [line[20:] for line in lines.taken()] == [" " * 11 + "stderr: said by the invoker"]


def test_what_is_given_up_is_counted_as_it_was_printed_and_not_kept() -> None:
    lines = of(PLENTY)
    lines.add("stdout", ["one", "é"])
    lines.add("stderr", [""])

    lost = lines.give_up()
    lines.add("stdout", ["two"])

    assert lost == len("one\né\n\n".encode())
    assert lines.full
    assert lines.taken() == ()


def test_the_line_that_says_that_more_was_cut_off_was_not_printed() -> None:
    lines = of(50)
    lines.add("stdout", ["one", "x" * 100])

    assert lines.give_up() == len("one\n")


def test_nothing_was_lost_of_an_activation_that_may_log_nothing() -> None:
    lines = of(0)
    lines.mute()

    assert lines.give_up() == 0
