"""What holds for all output, however it comes and however much it is: spec 9.11, T59, T60."""

import tracemalloc
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from invoker.config import Compat
from invoker.contracts import LogFollower, Logs
from invoker.entities.container import Stream
from invoker.sentinel import LONGEST_PIECE, MARKER, SENTINEL_LINE
from invoker.testing.builders import a_request
from invoker.testing.log_extractor import ERR, OUT, PLENTY, a_container, end_output, texts
from invoker_attached_logs.follower import AttachedLogs, Follower

REQUEST = a_request()

TRUNCATED = "Logs were truncated because the total bytes size exceeds the limit of {} bytes."

FRAGMENTS = st.sampled_from(
    [MARKER, SENTINEL_LINE, MARKER[:9], MARKER[9:], b"\n", b"\r\n", b"word ", b"\xff", "é€😀".encode(), b"x" * 90]
)
WRITES = st.lists(st.tuples(st.sampled_from(Stream), st.lists(FRAGMENTS, max_size=6).map(b"".join)), max_size=10)


def a_follower(compat: Compat = "openwhisk") -> Follower:
    return AttachedLogs(compat, lambda: 1_700_000_000_000_000_000).follow(a_container())


def ended(follower: LogFollower) -> Logs:
    return follower.end(expected=True)


@given(WRITES, st.sampled_from([200, PLENTY]), st.lists(st.integers(0, 600), max_size=12), st.integers(0, 10))
def test_chunks_change_nothing(writes: list[tuple[Stream, bytes]], limit: int, cuts: list[int], begun: int) -> None:
    whole, parts = a_follower(), a_follower()
    for index, (stream, output) in enumerate(writes):
        if index == begun:
            whole.begin(REQUEST, limit)
            parts.begin(REQUEST, limit)
        whole.write(stream, output)
        places = sorted({0, len(output), *(cut % (len(output) + 1) for cut in cuts)})
        for start, end in pairwise(places):
            parts.write(stream, output[start:end])
    if begun >= len(writes):
        whole.begin(REQUEST, limit)
        parts.begin(REQUEST, limit)

    assert ended(parts) == ended(whole)
    assert parts.dropped_bytes == whole.dropped_bytes


@given(st.lists(st.tuples(WRITES, WRITES), max_size=4), st.integers(1, 40))
def test_no_line_is_ever_in_another_activation(
    activations: list[tuple[list[tuple[Stream, bytes]], list[tuple[Stream, bytes]]]], size: int
) -> None:
    follower = a_follower()
    for number, (during, late) in enumerate(activations):
        follower.begin(REQUEST, PLENTY)
        for stream, output in during:
            tagged = b"".join(b"<%d>%b\n" % (number, line) for line in output.splitlines())
            for start in range(0, len(tagged), size):
                follower.write(stream, tagged[start : start + size])
        end_output(follower)
        for stream, output in late:
            follower.write(stream, b"<late>" + output)

        logs = ended(follower)

        assert all(text.startswith(f"<{number}>") for _, text in texts(logs)), logs.lines


@given(WRITES, st.integers(0, 400), st.sampled_from(["openwhisk", "functions"]))
def test_logs_never_exceed_the_limit_by_more_than_the_line_that_says_so(
    writes: list[tuple[Stream, bytes]], limit: int, compat: Compat
) -> None:
    follower = a_follower(compat)
    follower.begin(REQUEST, limit)
    for stream, output in writes:
        follower.write(stream, output)
    end_output(follower)

    lines = ended(follower).lines

    printed = [line for line in lines if not line.endswith(TRUNCATED.format(limit))]
    assert sum(len(line.encode()) for line in printed) <= limit
    assert len(printed) >= len(lines) - 1


def test_ten_megabytes_without_line_end_take_no_more_memory_than_the_limit() -> None:
    follower = a_follower()
    follower.begin(REQUEST, 1 << 20)

    peak = peak_memory_of_ten_megabytes(follower)

    logs = ended(follower)
    assert logs.complete
    assert logs.lines[-1].endswith(TRUNCATED.format(1 << 20))
    assert peak < (1 << 20) + 4 * LONGEST_PIECE


def test_past_the_limit_no_output_is_held() -> None:
    follower = a_follower()
    follower.begin(REQUEST, 100)
    follower.write(OUT, b"x" * 100 + b"\n")

    peak = peak_memory_of_ten_megabytes(follower)

    assert ended(follower).complete
    assert peak < LONGEST_PIECE


def peak_memory_of_ten_megabytes(follower: Follower) -> int:
    chunk = b"x" * (32 << 10)
    tracemalloc.start()
    try:
        for _ in range(320):
            follower.write(OUT, chunk)
        follower.write(OUT, SENTINEL_LINE)
        follower.write(ERR, SENTINEL_LINE)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
