"""Raw JSON: passed on as it came, checked once."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.wire import raw

SECRET = "hush-0123"

TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "text",
    [
        '{"b": 1.10,\t"a" : [1e400, -0.0, 123456789012345678901234567890]}',
        '["\\ud83d\\ude00", "h\u00e9llo", "\\u00e9"]',
        '{"lone":"\\ud800", "n": 1.10, "big":1e400}',
        '"\\udc00\\ud800"',
        '{"\\uDFFF":1}',
        "[" + "9" * 5000 + ',"\\ud800"]',
    ],
)
def test_json_stays_as_it_is(text: str) -> None:
    checked = raw.checked(text.encode())

    assert bytes(checked).decode() == text


@pytest.mark.parametrize("text", [' {"a" : 1}\r\n', '\t"\\ud800" '])
def test_white_space_around_json_is_dropped(text: str) -> None:
    assert bytes(raw.checked(text.encode())).decode() == text.strip()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b" ", "truncated"),
        (b'{"a":1} x', "trailing"),
        (b'{"a":"\\ud800"} x', "trailing"),
        (b'{"a":"\xff"}', "not UTF-8 (byte 6)"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b'{"\xff":1}', "not UTF-8 (byte 2)"),
        (b'{"a":NaN}', "malformed"),
        (b'["\\ud800",NaN]', "malformed: invalid character"),
        (b'["\\ud800",-Infinity]', "malformed: invalid character"),
        (b'["\\ud800",01]', "malformed"),
        (b'["\\ud800"', "truncated"),
        (b'["\\ud8zz"]', "malformed"),
        (b'["\\ud80"]', "malformed"),
        (b'["\\\\\\ud80"]', "malformed"),
        (b'["\\ud800","\\\\\\x"]', "malformed"),
        (b'["\\ud800\n"]', "malformed"),
        (b"[" * 200_000, "too deeply"),
        (b'["\\ud800",' + b"[" * 200_000, "too deeply"),
        (b"[" * 200_000 + b'"\\ud800"' + b"]" * 200_000, "too deeply"),
    ],
)
def test_what_is_not_json_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(raw.NotJSON) as caught:
        raw.checked(data)

    assert reason in str(caught.value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("data", [b'{"%s":1]', b'["%s\\x"]', b'["\\ud800","%s"}', b'"\\ud800" "%s"', b'{"%s":\xff}'])
def test_errors_repeat_nothing_of_what_was_read(data: bytes) -> None:
    with pytest.raises(raw.NotJSON) as caught:
        raw.checked(data.replace(b"%s", SECRET.encode()))

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.binary(max_size=40))
def test_any_bytes_are_json_or_not(data: bytes) -> None:
    try:
        checked = raw.checked(data)
    except raw.NotJSON:
        return

    assert bytes(checked) == data.strip(b" \t\r\n")
    json.loads(bytes(checked))


@given(VALUES)
def test_all_that_can_be_said_in_json_passes(value: Any) -> None:
    text = json.dumps(value)

    assert bytes(raw.checked(text.encode())).decode() == text


@given(st.dictionaries(TEXTS, VALUES, max_size=5), st.sampled_from([None, 2]))
def test_members_are_the_objects_and_join_to_it_again(value: dict[str, Any], indent: int | None) -> None:
    checked = raw.checked(json.dumps(value, indent=indent).encode())

    members = raw.members(checked)

    assert list(members) == list(value)
    assert {name: json.loads(bytes(member)) for name, member in members.items()} == value
    assert json.loads(bytes(raw.joined(members))) == value


@pytest.mark.parametrize("lone", ["", ',"z":"\\ud800"'])
def test_members_keep_the_spelling_of_their_values(lone: str) -> None:
    value = raw.checked(b'{"a": 1.10 ,"b":{ "c" : [ 1e400 ] },"a":"\\u0041"%s}' % lone.encode())

    members = raw.members(value)

    assert bytes(members["a"]) == b'"\\u0041"'  # of two alike the last
    assert bytes(members["b"]) == b'{ "c" : [ 1e400 ] }'


@pytest.mark.parametrize("text", [b"[1]", b'"x"', b"null", b"7", b'["\\ud800"]', b'"\\ud800"'])
def test_what_is_no_object_has_no_members(text: bytes) -> None:
    with pytest.raises(raw.NotJSON):
        raw.members(raw.checked(text))


def test_members_that_are_nested_too_deeply_are_an_error_of_ours() -> None:
    with pytest.raises(raw.NotJSON, match="too deeply"):
        raw.members(msgspec.Raw(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"))


def test_the_text_of_a_string_is_read_and_of_nothing_else() -> None:
    assert raw.string(msgspec.Raw(b'"h\\u00e9"')) == "hé"
    assert raw.string(msgspec.Raw(b"7")) is None
    assert raw.string(msgspec.Raw()) is None
    with pytest.raises(raw.NotJSON):
        raw.string(msgspec.Raw(b'"\\ud800"'))


def test_kinds_of_values_are_told_by_their_first_byte() -> None:
    values = [msgspec.Raw(text) for text in (b"{}", b"[]", b'""', b"null", b"")]

    assert [raw.is_object(value) for value in values] == [True, False, False, False, False]
    assert [raw.is_array(value) for value in values] == [False, True, False, False, False]
    assert [raw.is_string(value) for value in values] == [False, False, True, False, False]


@given(st.binary(max_size=40))
def test_mended_text_is_utf8_and_right_text_is_left_alone(data: bytes) -> None:
    mended = raw.mended(data)

    assert mended.decode() == data.decode(errors="replace")
