"""Action documents that are written: what upstream's reader asks for, and what `read` reads again (spec 6.2)."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.entities.function import Function, Limits
from invoker.testing.builders import a_function
from invoker.wire.function import Stored, binary_code, document, read, with_digest
from tests.core.wire.examples import raw

TEXTS = st.text(max_size=12)
LIMITS = st.builds(Limits, *[st.integers(0, 1 << 40)] * 4)
ANNOTATIONS = st.lists(st.fixed_dictionaries({"key": TEXTS, "value": TEXTS | st.integers(0, 9)}), max_size=3)
CODE = TEXTS.map(lambda text: (text, binary_code(text))) | st.sampled_from(
    [("main", False), ("bWFpbg==", True), ("", False), ("", True), ("abcd", True)]
)


@st.composite
def functions(draw: st.DrawFn) -> Function:
    blackbox = draw(st.booleans())
    code: str | None
    code, binary = draw(CODE)
    if blackbox and not code.strip():
        code, binary = None, False
    provide = draw(st.booleans())
    annotations = draw(ANNOTATIONS) + ([] if provide else [{"key": "provide-api-key", "value": False}])
    return Function(
        path=draw(st.sampled_from(["guest", "guest/pkg"])),
        name=draw(st.from_regex(r"[a-z0-9_]([a-z ]{0,8}[a-z])?", fullmatch=True)),
        version=draw(st.sampled_from(["0.0.1", "12.0.3"])),
        revision=draw(st.none() | st.just("1-abc")),
        kind="blackbox" if blackbox else draw(st.sampled_from(["nodejs:20", "python:default"])),
        image="example/proc:1" if blackbox else None,
        code=code,
        binary=binary,
        main=draw(st.none() | TEXTS.filter(bool)),
        limits=draw(LIMITS),
        provide_api_key=provide,
        annotations=msgspec.Raw(msgspec.json.encode(annotations)),
        parameters=msgspec.Raw(msgspec.json.encode(draw(ANNOTATIONS))),
    )


@given(functions())
def test_a_function_that_is_written_is_read_again(function: Function) -> None:
    assert read(document(function, updated=1)) == Stored(with_digest(function))


def test_a_written_document_has_all_that_upstream_asks_for() -> None:
    function = a_function(name="hello", revision="1-abc", main="handler", code="x = 1")

    assert json.loads(document(function, updated=1789990000000)) == {
        "_id": "guest/hello",
        "_rev": "1-abc",
        "entityType": "action",
        "updated": 1789990000000,
        "namespace": "guest",
        "name": "hello",
        "version": "0.0.1",
        "publish": False,
        "exec": {"kind": "python:3", "code": "x = 1", "binary": False, "main": "handler"},
        "parameters": [],
        "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
        "annotations": [],
    }


def test_t27_a_word_that_looks_like_base64_is_written_so_that_it_stays_a_word() -> None:
    written = json.loads(document(a_function(code="main"), updated=1))

    assert written["exec"]["code"]["attachmentName"] == "mem:bWFpbg=="
    assert written["exec"]["binary"] is False


@pytest.mark.parametrize("provide", [True, False])
def test_whether_the_key_is_shown_is_written_even_if_the_annotations_say_otherwise(provide: bool) -> None:  # noqa: FBT001 (a column of the table)
    annotations = raw(json.dumps([{"key": "provide-api-key", "value": not provide}, {"key": "a", "value": 1}]))

    function = a_function(provide_api_key=provide, annotations=annotations)

    assert read(document(function, updated=1)).function.provide_api_key is provide
