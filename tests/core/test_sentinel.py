"""One stream of output, cut into lines up to the sentinel: spec 9.11, T59, T60, T64."""

import re
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker import sentinel
from invoker.sentinel import LONGEST_PIECE, MARKER, SENTINEL_LINE, StreamCutter

FRAGMENTS = st.sampled_from(
    [
        *(MARKER, SENTINEL_LINE, MARKER + b"\r\n", MARKER[:10], MARKER[10:], b"XXX"),
        *(b"\n", b"\r\n", b"\r", b"\r\r\n", b"\n\n"),
        *(b"a", b"word ", b"%s", "é".encode(), "€".encode(), "😀".encode(), b"x" * 70, "é€😀".encode() * 10),
        *(b"\xff", b"\xe2\x82", b"\xc3", b"\x80", b"\xf0\x9f", b"\xed\xa0\x80"),
    ]
)
OUTPUT = st.lists(FRAGMENTS, max_size=25).map(b"".join)
SENTINEL = re.compile(MARKER + rb"\r?\n")
CUTS = st.lists(st.integers(0, 400), max_size=8)


def split(output: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut `output` at these places; some chunks may be empty."""
    places = [0, *sorted(min(cut, len(output)) for cut in cuts), len(output)]
    return [output[start:end] for start, end in pairwise(places)]


def cut(chunks: Iterable[bytes], *, sentinelled: bool = True) -> tuple[list[str], StreamCutter]:
    cutter = StreamCutter(sentinelled=sentinelled)
    texts = [text for chunk in chunks for text in cutter.take(chunk)]
    return texts, cutter


def plainly(output: bytes) -> list[str]:
    """Say the same as the cutter, a line at a time and without pieces."""
    texts: list[str] = []
    for line in output.split(b"\n")[:-1]:
        text = line.removesuffix(b"\r")
        if text.endswith(MARKER):
            before = text.removesuffix(MARKER).removesuffix(b"\r")
            return [*texts, before.decode(errors="replace")] if text != MARKER else texts
        texts.append(text.decode(errors="replace"))
    return texts


@given(OUTPUT)
def test_lines_are_what_is_between_line_ends_up_to_the_sentinel(output: bytes) -> None:
    texts, _ = cut([output])

    assert texts == plainly(output)


@given(OUTPUT, CUTS, st.booleans())
def test_chunks_change_nothing(output: bytes, cuts: list[int], sentinelled: bool) -> None:  # noqa: FBT001 (drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentinel, "LONGEST_PIECE", 50)

        whole, one = cut([output], sentinelled=sentinelled)
        parts, other = cut(split(output, cuts), sentinelled=sentinelled)

    assert parts == whole
    assert other.rest() == one.rest()
    assert (other.sentinels, other.forged, other.dropped) == (one.sentinels, one.forged, one.dropped)


@given(OUTPUT, CUTS, st.booleans())
def test_output_that_is_not_kept_still_shows_its_sentinels(
    output: bytes,
    cuts: list[int],
    sentinelled: bool,  # noqa: FBT001 (drawn)
) -> None:
    _, keeper = cut([output], sentinelled=sentinelled)
    drainer = StreamCutter(sentinelled=sentinelled)
    drainer.drain()

    texts = [text for chunk in split(output, cuts) for text in drainer.take(chunk)]

    assert texts == []
    assert (drainer.sentinels, drainer.forged, drainer.dropped) == (keeper.sentinels, keeper.forged, keeper.dropped)


@given(OUTPUT, OUTPUT, st.integers(1, 4), CUTS)
def test_output_behind_the_sentinels_that_are_due_is_another_activation(
    shared: bytes, late: bytes, activations: int, cuts: list[int]
) -> None:
    def behind(chunks: list[bytes], late_chunks: list[bytes]) -> tuple[list[str], StreamCutter]:
        cutter = StreamCutter()
        for _ in range(activations - 1):
            cutter.join()
        assert [text for chunk in chunks for text in cutter.take(chunk)] == [] or activations == 1
        cutter.restart_behind()
        return [text for chunk in late_chunks for text in cutter.take(chunk)], cutter

    texts, one = behind([shared], [late])
    by_and_by, other = behind(split(shared, cuts), split(late, cuts))

    assert by_and_by == texts
    assert (other.sentinels, other.forged, other.dropped) == (one.sentinels, one.forged, one.dropped)
    due = activations - len(SENTINEL.findall(shared))
    if due <= 0:
        assert texts == plainly(late)
    elif len(stale := list(SENTINEL.finditer(shared + late))) < activations:
        assert texts == []
    else:
        assert texts == plainly((shared + late)[stale[activations - 1].end() :])


@given(OUTPUT, CUTS)
def test_late_output_is_counted_to_the_byte(output: bytes, cuts: list[int]) -> None:
    cutter = StreamCutter()
    cutter.stop()

    for chunk in split(output, cuts):
        cutter.take(chunk)
        assert cutter.dropped >= 0
    cutter.restart()

    sentinels = output.count(SENTINEL_LINE) + output.count(MARKER + b"\r\n")
    assert cutter.dropped == len(output) - sentinels * len(SENTINEL_LINE)


@given(st.text(alphabet="aé€😀", min_size=20, max_size=300), st.booleans(), CUTS)
def test_pieces_of_a_long_line_are_bounded_and_whole_characters(
    text: str,
    ended: bool,  # noqa: FBT001 (drawn)
    cuts: list[int],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentinel, "LONGEST_PIECE", 50)

        pieces, cutter = cut(split(text.encode() + (SENTINEL_LINE if ended else b"\n"), cuts))

    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= 50 for piece in pieces)
    assert cutter.sentinels == ended


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("beyond", range(-40, 41))
def test_a_marker_is_found_wherever_a_long_line_is_cut(pieces: int, beyond: int) -> None:
    length = pieces * LONGEST_PIECE + beyond

    at_once, one = cut([b"x" * length + MARKER, b"\r", b"\n"])
    by_and_by, other = cut([b"x" * length, MARKER[:20], MARKER[20:], b"\r\n"])

    assert "".join(at_once) == "x" * length
    assert by_and_by == at_once
    assert (one.sentinels, other.sentinels) == (1, 1)


@pytest.mark.parametrize("at", range(1, len(SENTINEL_LINE) + 1))
def test_a_marker_is_found_wherever_output_that_is_not_kept_is_split(at: int) -> None:
    line = b"text " + MARKER + b"\r\n"
    cutter = StreamCutter()
    cutter.drain()

    cutter.take(line[: at + 5])
    cutter.take(line[at + 5 :])

    assert cutter.sentinels == 1


def test_the_last_piece_of_a_long_line_has_no_line_end() -> None:
    texts, _ = cut([b"x" * (LONGEST_PIECE + 5) + b"\r\n" + b"y" * (LONGEST_PIECE + 5) + MARKER + b"\r\n"])

    assert texts == ["x" * LONGEST_PIECE, "x" * 5, "y" * LONGEST_PIECE, "y" * 5]


def test_a_marker_in_the_middle_of_a_line_is_text() -> None:
    line = b"say " + MARKER + b" twice: " + MARKER + b"!"

    texts, cutter = cut([line + b"\n"])

    assert texts == [line.decode()]
    assert cutter.sentinels == 0


@pytest.mark.parametrize("ending", [b"", b"\r"])
def test_a_marker_without_line_end_is_neither_a_sentinel_nor_text(ending: bytes) -> None:
    texts, cutter = cut([b"done " + MARKER + ending])

    assert texts == []
    assert cutter.rest() == ["done "]
    assert cutter.sentinels == 0


def test_the_end_of_the_stream_ends_its_last_line() -> None:
    _, cutter = cut([b"done " + MARKER])

    texts = cutter.finish()

    assert texts == ["done "]
    assert cutter.sentinels == 1


def test_the_end_of_the_stream_adds_no_line_to_whole_ones() -> None:
    _, cutter = cut([b"done\n"])

    assert cutter.finish() == ()


def test_a_second_sentinel_is_forged() -> None:
    texts, cutter = cut([SENTINEL_LINE, b"text\n", SENTINEL_LINE])

    assert texts == []
    assert cutter.forged


def test_a_sentinel_of_each_activation_is_not_forged() -> None:
    _, cutter = cut([SENTINEL_LINE])

    cutter.restart()
    before = cutter.sentinels
    cutter.take(SENTINEL_LINE)

    assert (before, cutter.sentinels, cutter.forged) == (0, 1, False)


def test_a_sentinel_that_comes_late_is_forged_for_good() -> None:
    _, cutter = cut([SENTINEL_LINE])
    cutter.stop()
    cutter.take(SENTINEL_LINE)

    cutter.restart()

    assert cutter.forged


def test_what_an_activation_left_unfinished_is_not_dropped_later() -> None:
    _, cutter = cut([b"unfinished"])
    cutter.rest()
    cutter.stop()

    cutter.restart()

    assert cutter.dropped == 0


def test_a_marker_that_had_begun_at_the_limit_is_found_and_nothing_else_is_held() -> None:
    _, cutter = cut([b"x" * 1000 + MARKER[:20]])

    cutter.drain()
    held = len(cutter._pending)
    cutter.take(MARKER[20:] + b"\r\n")

    assert cutter.sentinels == 1
    assert held <= len(SENTINEL_LINE)


def test_an_image_without_sentinels_may_print_them_all_the_same() -> None:
    texts, cutter = cut([b"one\n" + SENTINEL_LINE, b"two" + SENTINEL_LINE + b"three\n"], sentinelled=False)

    cutter.drain()
    cutter.take(SENTINEL_LINE + b"more" + SENTINEL_LINE)

    assert texts == ["one", "two", "three"]
    assert cutter.sentinels == 4
    assert not cutter.forged


def test_ten_megabytes_without_line_end_are_held_in_pieces() -> None:
    chunk = b"x" * (32 << 10)
    cutter = StreamCutter()
    tracemalloc.start()
    try:
        total = sum(len(text) for _ in range(320) for text in cutter.take(chunk))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    total += sum(len(text) for text in cutter.rest())
    assert total == 10 << 20
    assert peak < 10 * LONGEST_PIECE
