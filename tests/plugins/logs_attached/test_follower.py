"""Output of a container into logs of its activations: spec 8.7, 9.11, 10.11, T58 to T65."""

import pytest

from invoker.config import Compat
from invoker.contracts import LogFollower, Logs
from invoker.sentinel import MARKER, SENTINEL_LINE
from invoker.testing.builders import a_request
from invoker.testing.log_extractor import ERR, OUT, PLENTY, a_container, end_output, texts
from invoker_attached_logs.follower import AttachedLogs, Follower

REQUEST = a_request()

FAILURE = ("stderr", "There was an issue while collecting your logs. Data might be missing.")
WARNING = ("stderr", "The action did not initialize or run as expected. Log data might be missing.")
TRUNCATED = "Logs were truncated because the total bytes size exceeds the limit of {} bytes."


def a_follower(compat: Compat = "openwhisk", *, sentinelled: bool = True) -> Follower:
    return AttachedLogs(compat, lambda: 1_700_000_000_000_000_000).follow(a_container(sentinelled=sentinelled))


def ended(follower: LogFollower) -> Logs:
    return follower.end(expected=True)


def test_the_logs_end_with_the_text_before_the_sentinel() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)

    follower.write(OUT, b"one\ntwo" + SENTINEL_LINE + b"three\n")
    follower.write(ERR, SENTINEL_LINE)

    assert texts(ended(follower)) == [("stdout", "one"), ("stdout", "two")]
    assert follower.dropped_bytes == len(b"three\n")


def test_one_stream_may_go_on_after_the_other_has_ended() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, SENTINEL_LINE)

    follower.write(ERR, b"still here\n" + SENTINEL_LINE)

    assert texts(ended(follower)) == [("stderr", "still here")]


def test_late_output_is_dropped_and_counted_unfinished_lines_too() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    end_output(follower)
    ended(follower)
    follower.write(OUT, b"late\nunfin")

    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"ished\n")
    end_output(follower)

    assert texts(ended(follower)) == [("stdout", "ished")]
    assert follower.dropped_bytes == len(b"late\nunfin")


def test_each_activation_needs_sentinels_of_its_own() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    end_output(follower)
    first = ended(follower)

    follower.begin(REQUEST, PLENTY)
    second = ended(follower)

    assert (first.complete, second.complete) == (True, False)


@pytest.mark.parametrize("complete", [False, True])
def test_an_image_without_sentinels_has_late_output_too(complete: bool) -> None:  # noqa: FBT001 (a parameter)
    follower = a_follower(sentinelled=False)
    follower.begin(REQUEST, PLENTY)
    if complete:
        end_output(follower)
    follower.write(OUT, b"first\nunfin")
    first = follower.end(expected=False)
    follower.write(OUT, b"late\n")

    follower.begin(REQUEST, PLENTY)
    second = follower.end(expected=False)

    assert texts(first) == [("stdout", "first"), ("stdout", "unfin")]
    assert texts(second) == []
    assert follower.dropped_bytes == len(b"late\n")


def test_missing_sentinels_are_told_after_what_was_printed() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    follower.write(ERR, SENTINEL_LINE)
    follower.write(OUT, b"whole\nunfin")

    logs = ended(follower)

    assert texts(logs) == [("stdout", "whole"), ("stdout", "unfin"), FAILURE]
    assert not logs.complete


def test_a_sentinel_without_line_end_is_not_shown_and_completes_nothing() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    follower.write(ERR, SENTINEL_LINE)
    follower.write(OUT, b"text" + MARKER)

    logs = ended(follower)

    assert texts(logs) == [("stdout", "text"), FAILURE]
    assert not logs.complete


def test_a_developer_error_gets_a_warning_where_the_controller_knows_one() -> None:
    openwhisk, functions = a_follower("openwhisk"), a_follower("functions")
    for follower in (openwhisk, functions):
        follower.begin(REQUEST, PLENTY)
        follower.write(ERR, b"Traceback\nValueErr")

    said = [("stderr", "Traceback"), ("stderr", "ValueErr")]
    assert texts(openwhisk.end(expected=True, error="it failed")) == [*said, FAILURE, WARNING]
    assert texts(functions.end(expected=True, error="it failed")) == [
        *said,
        ("stderr", "it failed. Logs might be missing."),
    ]


@pytest.mark.parametrize(
    ("compat", "error", "last"),
    [
        ("openwhisk", "it failed", [WARNING]),
        ("functions", "it failed.", [("stderr", "it failed. Logs might be missing.")]),
        ("functions", "", [("stderr", "There was an issue while collecting your logs. Logs might be missing.")]),
    ],
)
def test_a_developer_error_whose_sentinels_nobody_waited_for_says_so(
    compat: Compat, error: str, last: list[tuple[str, str]]
) -> None:
    """Spec 9.11.7, 9.11.8 and 9.11.16."""
    follower = a_follower(compat)
    follower.begin(REQUEST, PLENTY)

    assert texts(follower.end(expected=False, error=error)) == last


@pytest.mark.parametrize(("compat", "last"), [("openwhisk", [WARNING]), ("functions", [])])
def test_a_developer_error_whose_logs_came_is_complete(compat: Compat, last: list[tuple[str, str]]) -> None:
    follower = a_follower(compat)
    follower.begin(REQUEST, PLENTY)
    end_output(follower)

    logs = follower.end(expected=True, error="it failed")

    assert texts(logs) == last
    assert logs.complete


def test_where_no_sentinels_are_printed_functions_say_nothing_of_a_developer_errors_logs() -> None:
    follower = a_follower("functions", sentinelled=False)
    follower.begin(REQUEST, PLENTY)

    assert texts(follower.end(expected=False, error="it failed")) == []


def test_late_output_belongs_to_nobody_and_the_next_activation_has_its_own() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"in time\n")
    late = ended(follower)
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"late\n" + SENTINEL_LINE + b"own\n")
    follower.write(ERR, SENTINEL_LINE)
    end_output(follower)
    own = ended(follower)

    assert (texts(late), late.complete, late.reusable) == ([("stdout", "in time"), FAILURE], False, True)
    assert (texts(own), own.complete, own.reusable) == ([("stdout", "own")], True, True)
    assert follower.dropped_bytes == len(b"late\n")


@pytest.mark.parametrize("came", [0, 1])
def test_output_that_is_late_a_second_time_costs_the_container_unless_the_earlier_one_has_come(came: int) -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    ended(follower)
    follower.begin(REQUEST, PLENTY)
    for _ in range(came):
        end_output(follower)

    again = ended(follower)

    assert (again.complete, again.reusable) == (False, bool(came))


def test_truncation_keeps_the_container() -> None:
    follower = a_follower()
    follower.begin(REQUEST, 100)
    follower.write(OUT, b"kept\n" + b"x" * 100 + b"\nnot kept\n")
    follower.write(ERR, b"not kept\n")
    end_output(follower)

    logs = ended(follower)

    assert texts(logs) == [("stdout", "kept"), ("stderr", TRUNCATED.format(100))]
    assert logs.complete
    assert logs.reusable
    assert follower.dropped_bytes == 0


def test_a_limit_of_zero_means_no_logs_for_openwhisk_but_sentinels_are_found() -> None:
    follower = a_follower("openwhisk")
    follower.write(OUT, b"boot\n")
    follower.begin(REQUEST, 0)
    follower.write(OUT, b"text\n")
    end_output(follower)

    assert ended(follower) == Logs(())


def test_a_limit_of_zero_says_nothing_even_of_missing_sentinels_and_failures() -> None:
    follower = a_follower("openwhisk")
    follower.begin(REQUEST, 0)
    follower.write(OUT, b"text\nunfin")
    silent = ended(follower)
    follower.begin(REQUEST, 0)
    failed = follower.end(expected=True, error="it failed")

    assert (silent, failed) == (Logs((), complete=False), Logs((), complete=False, reusable=False))


def test_a_limit_of_zero_is_one_line_for_functions() -> None:
    follower = a_follower("functions")
    follower.begin(REQUEST, 0)
    follower.write(OUT, b"text\nmore\n")
    end_output(follower)

    assert texts(ended(follower)) == [("stderr", TRUNCATED.format(0))]


def test_boot_output_beyond_the_first_limit_is_truncated() -> None:
    follower = a_follower()
    follower.write(OUT, b"boot\n" * 10)

    follower.begin(REQUEST, 100)
    follower.write(OUT, b"text\n")
    end_output(follower)

    assert texts(ended(follower)) == [("stdout", "boot")] * 2 + [("stderr", TRUNCATED.format(100))]


def test_a_forged_sentinel_ends_the_logs() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"before\n" + SENTINEL_LINE + b"after\n")
    end_output(follower)

    logs = ended(follower)

    assert texts(logs) == [("stdout", "before")]
    assert logs.complete
    assert not logs.reusable


def test_a_forged_sentinel_past_the_limit_is_seen() -> None:
    follower = a_follower()
    follower.begin(REQUEST, 1)
    follower.write(OUT, b"text\n" + SENTINEL_LINE)
    end_output(follower)

    assert not ended(follower).reusable


def test_sentinels_that_show_too_late_that_earlier_ones_were_forged_end_the_container() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    end_output(follower)
    fooled = ended(follower)
    end_output(follower)

    follower.begin(REQUEST, PLENTY)
    end_output(follower)

    assert fooled.reusable
    assert not ended(follower).reusable


def test_an_image_that_prints_sentinels_without_being_expected_to_is_kept() -> None:
    follower = a_follower(sentinelled=False)
    follower.begin(REQUEST, PLENTY)
    follower.write(OUT, b"first\n")
    first = follower.end(expected=False)

    follower.begin(REQUEST, PLENTY)
    end_output(follower)  # the first one's, late
    follower.write(OUT, b"second\n")
    end_output(follower)
    second = follower.end(expected=False)

    assert (texts(first), texts(second)) == ([("stdout", "first")], [("stdout", "second")])
    assert second.reusable


def test_the_last_words_of_a_container_need_no_line_end() -> None:
    follower = a_follower()
    follower.begin(REQUEST, PLENTY)
    follower.write(ERR, b"Killed")
    follower.write(OUT, b"last " + MARKER)

    follower.closed()

    assert texts(ended(follower)) == [("stdout", "last "), ("stderr", "Killed"), FAILURE]
