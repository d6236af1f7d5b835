"""What action proxies answer, and what we make of it: spec 9.6, 9.7."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from invoker.wire.action_proxy import (
    Form,
    error_response,
    read_run,
)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"{}", "object"),
        (b' {"a":1}\n', "object"),
        (b'{"a":"\\ud800"}', "object"),
        (b'{"\\udc00":{"error":1}}', "object"),
        (b'{"a":' + b"1" * 5000 + b"}", "object"),
        (b'{"a":"\xff"}', "object"),
        (b'{"a":1,"a":2}', "object"),
        (b"[]", "array"),
        (b' ["\\ud800"] ', "array"),
        (b"null", "null"),
        (b"\r\n\tnull ", "null"),
        (b"1", "scalar"),
        (b'"text"', "scalar"),
        (b'"\\ud800"', "scalar"),
        (b"true", "scalar"),
        (b"", "no JSON"),
        (b" ", "no JSON"),
        (b"{", "no JSON"),
        (b'{"a":1}x', "no JSON"),
        (b"{'a':1}", "no JSON"),
        (b"[1,]", "no JSON"),
        (b"NaN", "no JSON"),
        (b'{"a":NaN}', "no JSON"),
        (b'{"a":[Infinity],"b":"\\ud800"}', "no JSON"),
        (b'{"a":-Infinity}', "no JSON"),
        (b'{"a":"\\ud800","b":nul}', "no JSON"),
        (b'{"a":"\\ud800"} trailing', "no JSON"),
        (b'{"a":"\n"}', "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "no JSON"),
        (b'{"a":' * 100_000 + b'"\\ud800"' + b"}" * 100_000, "no JSON"),
    ],
)
def test_a_reply_is_what_it_is(body: bytes, form: Form) -> None:
    assert read_run(body).form == form


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":"no"}', b'"no"'),
        (b'{"error":null}', b"null"),
        (b'{"error": {"code": 1.10} , "other":1}', b'{"code": 1.10}'),
        (b'{"error":false,"a":"\\ud800"}', b"false"),
        (b'{"a":1, "error" : "\\ud800"}', b'"\\ud800"'),
        (b'{"\\u0065rror":1}', b"1"),
        (b'{"error":1,"error":2}', b"2"),
        (b'{"error":"\xff"}', '"\ufffd"'.encode()),
        (b'{"inner":{"error":1}}', None),
        (b'{"Error":1}', None),
        (b'["error"]', None),
        (b'[{"error":1}]', None),
        (b'"error"', None),
        (b'{"error":1', None),
    ],
)
def test_only_a_member_of_the_object_is_its_error(body: bytes, error: bytes | None) -> None:
    found = read_run(body).error

    assert (None if found is None else bytes(found)) == error


def test_a_reply_is_passed_on_as_it_came() -> None:
    body = b'{ "n": 1.10, "e": 1E400, "lone": "\\ud800" }'

    assert read_run(body).body == body


def test_what_is_not_utf_8_is_replaced() -> None:
    answer = read_run(b'{"a":"\xff\xc3"}')

    assert answer.body == '{"a":"\ufffd\ufffd"}'.encode()
    assert answer.text == '{"a":"\ufffd\ufffd"}'


@pytest.mark.parametrize(
    ("body", "openwhisk", "functions"),
    [
        (b'{"ok":true}', 11, 11),
        ('{"a":"é"}'.encode(), 9, 10),
        ('{"a":"😀"}'.encode(), 10, 12),
        (b'{"a":"\\ud83d\\ude00"}', 20, 20),
        (b"", 0, 0),
    ],
)
def test_size_counts_utf_16_units_upstream_and_bytes_in_the_go_variant(
    body: bytes, openwhisk: int, functions: int
) -> None:
    answer = read_run(body)

    assert (answer.size("openwhisk"), answer.size("functions")) == (openwhisk, functions)


@given(st.binary(max_size=60))
def test_no_reply_is_too_strange_to_be_read(body: bytes) -> None:
    answer = read_run(body)

    assert answer.text == body.decode("utf-8", "replace")
    assert answer.size("openwhisk") <= answer.size("functions") == len(answer.body)


PIECES = st.sampled_from(
    [
        *('{"error":', '{"a":', "{", "}", "[", "]", ",", ":", '"error"', '"a"', '"\\ud800"', '"\\udc00\\ud83d"'),
        *(
            '"\\ud83d\\ude00"',
            '"\\\\ud800"',
            '"\\u00"',
            '"\\x"',
            '"é😀"',
            '"',
            "\\",
            "1",
            "-",
            "1.5",
            "01",
            "1e5",
            ".5",
        ),
        *("true", "null", "nul", "NaN", "Infinity", "-Infinity", " ", "\n", "\t", "\x0b", "\x00", "\x7f", "\u2028"),
    ]
)


def refuse(constant: str) -> None:
    raise ValueError(constant)


@given(st.lists(PIECES, max_size=9).map("".join))
@example('{"a":"\\ud800","error":1}')
@example('["\\ud800",NaN]')
@example('{"error":"\\ud800","a":01}')
def test_replies_are_read_as_the_standard_library_reads_them(text: str) -> None:
    forms: dict[type, Form] = {dict: "object", list: "array", type(None): "null"}
    value: Any = None
    try:
        value = json.loads(text, parse_constant=refuse)
        form = forms.get(type(value), "scalar")
    except ValueError:
        form = "no JSON"
    members = value if isinstance(value, dict) else {}

    answer = read_run(text.encode())

    found = {} if answer.error is None else {"error": json.loads(bytes(answer.error))}
    assert answer.form == form
    assert found == {name: each for name, each in members.items() if name == "error"}


@pytest.mark.parametrize(
    ("error", "response"),
    [
        ("no", b'{"error":"no"}'),
        ('a "b"\n', b'{"error":"a \\"b\\"\\n"}'),
        ("é", '{"error":"é"}'.encode()),
        ("\ud800", b'{"error":"\\ud800"}'),
        (msgspec.Raw(b"null"), b'{"error":null}'),
        (msgspec.Raw(b'{"code": 1.10}'), b'{"error":{"code": 1.10}}'),
    ],
)
def test_an_error_may_be_a_text_or_any_json(error: str | msgspec.Raw, response: bytes) -> None:
    assert bytes(error_response(error)) == response
