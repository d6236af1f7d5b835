"""What is no activation message: always MalformedRequest, which says why and repeats nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.entities.request import Request
from invoker.errors import MalformedRequest
from invoker.wire.request import message, parse
from tests.core.wire.examples import ABSENT, EXAMPLES, SECRET, changed, fault
from tests.specification import BLOCKING


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"null", "Expected `object`"),
        (b"[]", "Expected `object`"),
        (b"{}", "`transid`"),
        (b"\xff", "not UTF-8 (byte 0)"),
        (BLOCKING[:-1], "truncated"),
        (BLOCKING + b"}", "trailing"),
        (BLOCKING.replace(b"640", b"malformed"), "malformed"),
        (BLOCKING.replace(b"640", b'"\xc3"'), "not UTF-8"),
        (BLOCKING.replace(b"640", b"[" * 100_000 + b"]" * 100_000), "too deeply"),
        (BLOCKING.replace(b"640", b'"\\ud800"' + b"[" * 100_000), "malformed"),
        (BLOCKING.replace(b"640", b'["\\ud800",' + b"[" * 100_000 + b"]" * 100_001), "too deeply"),
        (BLOCKING.replace(b"640", b'["\\ud800",NaN]'), "malformed"),
        (BLOCKING.replace(b"true,\n", b'"yes",\n'), "`$.blocking`"),
    ],
)
def test_what_is_no_message_says_why(body: bytes, what: str) -> None:
    text = fault(body)

    assert what in text
    assert text.startswith("not an activation message: ")


@pytest.mark.parametrize("field", ["transid", "action", "user", "activationId", "rootControllerIndex", "blocking"])
def test_what_every_controller_sends_is_required(field: str) -> None:
    assert f"missing required field `{field}`" in fault(changed(**{field: ABSENT}))


@pytest.mark.parametrize("place", ["content", "user__authkey", "user", "initArgs", "lockedArgs", "action", "blocking"])
def test_errors_repeat_nothing_of_the_message(place: str) -> None:
    for value in (SECRET, {SECRET: SECRET}, {SECRET: 7}, [SECRET, 7], [[SECRET]]):
        body = changed(activationId="wrong", **{place: value})

        assert SECRET not in fault(body)
        assert SECRET not in fault(body[:-1])
        assert SECRET not in fault(body.replace(b"wrong", b"\\ud800"))


def test_the_last_of_two_fields_counts() -> None:
    body = BLOCKING.replace(b'"blocking":true', b'"blocking":7,"blocking":false')

    assert "`$.blocking`" in fault(body)
    assert not parse(body.replace(b":7", b":true")).blocking


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(body)


@given(st.sampled_from(EXAMPLES), st.data())
def test_a_damaged_message_is_a_message_or_malformed(example: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(example)))
    end = data.draw(st.integers(start, min(len(example), start + 12)))
    inserted = data.draw(
        st.binary(max_size=6) | st.sampled_from([b'"\\ud800"', b"\\udc00", b"{", b"[" * 2000, b"null"])
    )

    try:
        request = parse(example[:start] + inserted + example[end:])
    except MalformedRequest:
        return

    assert isinstance(request, Request)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=6)
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
FIELDS = [
    "transid",
    "action",
    "action__path",
    "action__name",
    "action__version",
    "action__binding",
    "revision",
    "user",
    "user__subject",
    "user__namespace",
    "user__namespace__name",
    "user__namespace__annotations",
    "user__authkey",
    "user__limits",
    "activationId",
    "rootControllerIndex",
    "rootControllerIndex__asString",
    "blocking",
    "content",
    "initArgs",
    "lockedArgs",
    "cause",
]


@given(st.sampled_from(FIELDS), ANYTHING)
def test_a_message_with_any_value_anywhere_is_a_message_or_malformed(field: str, value: Any) -> None:
    try:
        request = parse(changed(**{field: value}))
    except MalformedRequest:
        return

    assert parse(message(request)) == request
