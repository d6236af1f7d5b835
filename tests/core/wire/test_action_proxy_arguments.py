"""Arguments on their way: those of the environment, and those of `/run`."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from invoker.wire.action_proxy import (
    split,
)


def test_missing_content_is_an_empty_object() -> None:
    parameters, value = split(None, ["A"])

    assert (parameters, bytes(value)) == ({}, b"{}")


def test_nothing_is_copied_when_nothing_is_parted() -> None:
    content = msgspec.Raw(b'{"A":1}')

    assert split(content, ())[1] is content


def test_arrays_are_not_parted() -> None:
    content = msgspec.Raw(b'["A", 1]')

    assert split(content, ["A"]) == ({}, content)


def test_named_arguments_go_into_the_environment_and_the_rest_stays_as_it_came() -> None:
    content = msgspec.Raw(b'{"A": "x", "n": 1.10, "e": 1E400, "B": [1], "lone": "\\ud800"}')

    parameters, value = split(content, ["A", "B", "missing", "A"])

    assert {name: bytes(text) for name, text in parameters.items()} == {"A": b'"x"', "B": b"[1]"}
    assert bytes(value) == b'{"n":1.10,"e":1E400,"lone":"\\ud800"}'


NAMES = st.text(max_size=3)


@given(st.dictionaries(NAMES, st.integers() | NAMES, max_size=6), st.lists(NAMES, max_size=4))
def test_no_argument_is_lost_or_told_twice(arguments: dict[str, Any], names: list[str]) -> None:
    parameters, value = split(msgspec.Raw(json.dumps(arguments).encode()), names)

    rest = json.loads(bytes(value))
    assert {name: json.loads(bytes(text)) for name, text in parameters.items()} | rest == arguments
    assert parameters.keys() == arguments.keys() & set(names)
    assert not rest.keys() & set(names)
