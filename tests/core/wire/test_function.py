"""Action documents: what they must have, what of it counts, and the way back (spec 6.2, 6.6, 6.9, 10.2.1)."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.entities.function import Function, Limits
from invoker.errors import FunctionUnreadable
from invoker.wire.function import Stored, read
from tests.core.wire.documents import ATTACHED, BLACKBOX, INLINE, changed, refusal, stored
from tests.core.wire.examples import ABSENT, raw


def test_spec_6_2_a_document_is_read() -> None:
    result = stored()

    assert result.attachment is None
    assert result.function == Function(
        path="acme/tools",
        name="resize",
        version="0.0.7",
        revision="4-5d1f0c9be2a74c0e8d7b6a5948372615",
        kind="nodejs:20",
        code="function main() {}",
        main="handler",
        limits=Limits(60000, 256, 10, 1),
        provide_api_key=False,
        annotations=raw(json.dumps(INLINE["annotations"])),
        parameters=raw(json.dumps(INLINE["parameters"])),
        digest=result.function.digest,
    )
    assert len(result.function.digest) == 32


def test_what_is_kept_of_a_document_does_not_keep_all_of_it() -> None:
    body = changed()
    references = sys.getrefcount(body)

    function = read(body).function

    assert function.digest
    assert sys.getrefcount(body) == references


@pytest.mark.parametrize(
    "field", ["namespace", "name", "exec", "parameters", "limits", "version", "publish", "annotations", "updated"]
)
def test_spec_6_2_1_these_fields_are_required(field: str) -> None:
    error = refusal(changed(**{field: ABSENT}))

    assert error.document_id == "acme/tools/resize"
    assert error.executable
    assert f"`{field}`" in error.reason


@pytest.mark.parametrize("field", ["_id", "_rev", "entityType"])
def test_these_fields_are_not(field: str) -> None:
    assert stored(**{field: ABSENT}).function.document_id == "acme/tools/resize"


@pytest.mark.parametrize("kind", ["trigger", "package", "rule", "activation", "Action"])
def test_spec_6_2_2_another_type_is_no_action(kind: str) -> None:
    error = refusal(changed(entityType=kind))

    assert error.executable
    assert error.reason == f"it is of type {kind!r}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("namespace", ""),
        ("namespace", " x"),
        ("name", "a/b"),
        ("version", "0.0.0"),
        ("version", 1),
        ("publish", "no"),
        ("updated", "today"),
        ("exec", "nodejs:20"),
        ("exec__kind", ABSENT),
        ("exec__kind", None),
        ("exec__code", ABSENT),
        ("exec__code", None),
        ("exec__code", 7),
        ("exec__main", 7),
        ("limits__timeout", ABSENT),
        ("limits__memory", None),
        ("limits__memory", "256 MB"),
        ("limits__memory", 256.5),
        ("limits__logs", 1 << 64),
        ("parameters", {}),
        ("annotations", None),
        ("annotations", ["x"]),
        ("annotations", [{"value": 1}]),
        ("parameters", [{"key": "a"}]),
        ("parameters", [{"key": 1, "value": 1}]),
        ("parameters", [{"key": "a", "value": 1, "init": "yes"}]),
        ("parameters", [{"key": "a", "value": 1, "init": None}]),
        ("parameters", [{"key": "a", "value": 1, "encryption": None}]),
        ("parameters", [{"key": "a", "value": 1, "encryption": True}]),
    ],
)
def test_spec_6_2_3_a_malformed_field_makes_a_document_unreadable(field: str, value: Any) -> None:
    error = refusal(changed(**{field: value}))

    assert error.document_id == "acme/tools/resize"
    assert error.executable


@pytest.mark.parametrize(
    "element",
    [
        {"key": "a", "value": None},
        {"key": "a", "value": {}, "init": False},
        {"key": "a", "value": 1, "init": True, "encryption": "aes-256"},
        {"key": "a", "value": 1, "init": True, "encryption": None},
        {"key": "a", "value": 1, "encryption": "aes-256"},
        {"key": "a", "value": 1, "more": 2},
    ],
)
def test_spec_6_10_1_parameters_have_these_shapes(element: dict[str, Any]) -> None:
    function = stored(parameters=[element]).function

    assert json.loads(bytes(function.parameters)) == [element]  # kept, and never merged into anything (T36)


@pytest.mark.parametrize(
    ("document_", "known"),
    [
        (b"", "asked/for"),
        (b"[]", "asked/for"),
        (b'{"_id":"ns/x"}', "ns/x"),
        (b'{"_id":"ns/x","\xff":1}', "asked/for"),
        (b'{"_id":' + b"[" * 100_000, "asked/for"),
    ],
)
def test_the_error_names_the_document_as_well_as_it_can(document_: bytes, known: str) -> None:
    with pytest.raises(FunctionUnreadable) as caught:
        read(document_, document_id="asked/for")

    assert caught.value.document_id == known


@given(st.binary(max_size=60))
def test_any_bytes_are_unreadable(body: bytes) -> None:
    refusal(body)


@given(st.sampled_from([INLINE, ATTACHED, BLACKBOX]), st.data())
def test_a_damaged_document_is_read_or_unreadable(example: dict[str, Any], data: st.DataObject) -> None:
    body = changed(example)
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 12)))
    inserted = data.draw(st.binary(max_size=6) | st.sampled_from([b"null", b"{}", b"[" * 2000, b"\\ud800"]))

    try:
        result = read(body[:start] + inserted + body[end:])
    except FunctionUnreadable:
        return

    assert isinstance(result, Stored)


# --- kind, limits, key -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "read_as"), [(" NodeJS:20\n", "nodejs:20"), ("python:default", "python:default")])
def test_spec_6_3_1_a_kind_is_trimmed_and_lower_case_and_not_resolved(kind: str, read_as: str) -> None:
    assert stored(exec__kind=kind).function.kind == read_as


@pytest.mark.parametrize("kind", ["sequence", " Sequence "])
def test_spec_6_7_8_a_sequence_is_well_formed_and_can_not_run(kind: str) -> None:
    error = refusal(changed(exec={"kind": kind, "components": ["/guest/a", "/guest/b"]}))

    assert not error.executable


def test_spec_6_6_1_logs_and_concurrency_have_defaults() -> None:
    function = stored(limits={"timeout": 100, "memory": 128, "instances": 3}).function

    assert function.limits == Limits(timeout=100, memory=128, logs=10, concurrency=1)


def test_an_empty_entry_point_is_none() -> None:
    assert stored(exec__main="").function.main is None
    assert stored(exec__main=ABSENT).function.main is None


@pytest.mark.parametrize("value", [True, 1, -1, 0.1, 1e-400, "x", "false", [], {}, [0]])
def test_spec_6_9_1_these_values_show_the_key(value: Any) -> None:
    body = changed(annotations=[{"key": "provide-api-key", "value": "@"}])

    assert read(body.replace(b'"@"', b"1e-400" if value == 0 else json.dumps(value).encode())).function.provide_api_key


@pytest.mark.parametrize("text", ["false", "null", "0", "-0", "0.0", "0e7", '""'])
def test_spec_6_9_1_these_values_hide_the_key(text: str) -> None:
    body = changed(annotations=[{"key": "provide-api-key", "value": "@"}])

    assert not read(body.replace(b'"@"', text.encode())).function.provide_api_key


def test_spec_6_9_1_without_the_annotation_the_key_is_shown() -> None:
    assert stored(annotations=[{"key": "final", "value": False}]).function.provide_api_key


def test_the_last_of_two_annotations_counts() -> None:
    annotations = [{"key": "provide-api-key", "value": value} for value in (False, True)]

    assert stored(annotations=annotations).function.provide_api_key
