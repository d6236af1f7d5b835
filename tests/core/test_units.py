"""Sizes and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.units import ByteSize, Seconds, SecondsOrZero


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (268435456, 268435456),
        ("268435456", 268435456),
        ("1 B", 1),
        ("2K", 2048),
        ("2 KB", 2048),
        ("2 KiB", 2048),
        ("256 MB", 256 << 20),
        ("256mib", 256 << 20),
        (" 1 g ", 1 << 30),
        ("3 GiB", 3 << 30),
    ],
)
def test_a_size_is_read(text: str | int, size: int) -> None:
    assert ByteSize.parse(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "1.5 GB", "-1", -1, 1.5, True, "1 TB", "1 MBB", "٣", "1 \u212a", "1_000", "0x1F"]
)
def test_what_is_no_size_is_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"expected a size such as '256 MB', got "):
        ByteSize.parse(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "8589934592 GB", 1 << 63])
def test_a_size_beyond_63_bits_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"expected a size of at most 9223372036854775807 bytes, got "):
        ByteSize.parse(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (6068, "6068 B"), (1024, "1 KB"), (1 << 20, "1 MB"), (3 << 29, "1536 MB"), (2 << 30, "2 GB")],
)
def test_a_size_is_shown_short_and_exact(size: int, text: str) -> None:
    assert str(ByteSize(size)) == f"{ByteSize(size)}" == text


@given(st.integers(0, (1 << 63) - 1))
def test_a_size_that_is_shown_can_be_read(size: int) -> None:
    assert ByteSize.parse(str(ByteSize(size))) == ByteSize.parse(size) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0, 0.0),
        (3, 3.0),
        (0.5, 0.5),
        (1e-05, 1e-05),
        ("0.5", 0.5),
        ("500 ms", 0.5),
        ("9ms", 0.009),
        ("3 s", 3.0),
        ("10 min", 600.0),
        ("10 m", 600.0),
        ("1.5 H", 5400.0),
        (" 7 d ", 604800.0),
        ("1e3 ms", 1.0),
    ],
)
def test_a_duration_is_read(text: str | float, seconds: float) -> None:
    assert Seconds.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1", -1, True, float("nan"), float("inf"), "inf", "3 weeks", "1_000", "0x1F", "3 \u017f", ".5", "1,5"],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"expected a duration such as '3 s' or '500 ms', got "):
        Seconds.parse(text)


@pytest.mark.parametrize("text", ["1e999", "9" * 400, "1e308 d"])
def test_a_duration_without_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a duration that ends, such as '7 d', got "):
        Seconds.parse(text)


@pytest.mark.parametrize("parse", [ByteSize.parse, Seconds.parse])
@pytest.mark.parametrize(
    "value", [10**5000, -(10**5000), "9" * 10_000, "x" * 10_000], ids=["huge", "low", "digits", "letters"]
)
def test_a_message_about_a_long_value_is_short(parse: type[ByteSize], value: str | int) -> None:
    with pytest.raises(ValueError, match="expected a ") as raised:
        parse(value)

    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.005, "5 ms"),
        (0.5, "500 ms"),
        (0.0001, "0.1 ms"),
        (1, "1 s"),
        (1.5, "1.5 s"),
        (90, "90 s"),
        (600, "10 min"),
        (7200, "2 h"),
        (129600, "36 h"),
        (604800, "7 d"),
        (1e300, "1e+300 s"),
    ],
)
def test_a_duration_is_shown_as_a_person_would_write_it(seconds: float, text: str) -> None:
    assert str(Seconds(seconds)) == text


@given(st.floats(min_value=0, allow_infinity=False))
def test_a_duration_that_is_shown_can_be_read(seconds: float) -> None:
    assert Seconds.parse(str(Seconds(seconds))) == Seconds.parse(seconds) == seconds


def test_a_duration_that_may_be_zero_is_a_duration() -> None:
    assert isinstance(SecondsOrZero.parse("0"), Seconds)
    assert isinstance(SecondsOrZero.parse("0"), SecondsOrZero)
