"""Action documents that are written: what upstream's reader asks for, and what `read` reads again (spec 6.2)."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.entities.function import Function, Limits
from invoker.errors import FunctionUnreadable
from invoker.testing.builders import a_function
from invoker.wire.attachment import binary_code
from invoker.wire.function import Stored, document, read, with_digest
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


WILD = st.text(alphabet="aZ0_ @.&-%+/?#ä\u0130\ud800\x00\n", max_size=6) | st.text(max_size=4)
JSON = st.sampled_from(
    [b"[]", b" [ ] ", b"", b"[", b"{}", b"null", b'[],"name":"other"', b'[],"_attachments":{}']
) | st.builds(
    b'[{"key":%b,"value":%b}]'.__mod__,
    st.tuples(
        st.sampled_from([b'"a"', b"1", b'"provide-api-key"', b'"\\ud800"', b'"\xff"']),
        st.sampled_from([b"1", b"1e999", b"false", b'{"a":1,"a":2}', b'"\\ud800"', b'"\xff"', b"[" * 3000, b"x"]),
    ),
)


@st.composite
def any_functions(draw: st.DrawFn) -> Function:
    """A good one with some fields as nobody should have them."""
    wild = st.fixed_dictionaries(
        {},
        optional={
            "path": WILD | st.builds("{}/{}".format, WILD, WILD),
            "name": WILD | st.sampled_from(["a" * 256, "a" * 257, ".."]),
            "version": WILD | st.sampled_from(["1", "0.0.0", "01.2.3", "2147483648.0.0"]),
            "revision": st.none() | WILD,
            "kind": WILD | st.sampled_from(["Python:3", "sequence", "blackbox", " nodejs:20"]),
            "image": st.none() | WILD | st.sampled_from(["a/b@sha256:" + "a" * 64, " a/b", "localhost/x"]),
            "code": st.none() | WILD | st.sampled_from(["main", "bWFpbg==", " bWFpbg==\n", "bWFpb", "b W F p"]),
            "binary": st.booleans(),
            "main": st.none() | WILD,
            "limits": st.builds(Limits, *[st.integers(-(1 << 64), 1 << 65)] * 4),
            "provide_api_key": st.booleans(),
            "annotations": JSON.map(msgspec.Raw),
            "parameters": JSON.map(msgspec.Raw),
        },
    )
    return msgspec.structs.replace(draw(functions()), **draw(wild))


def values(json_: msgspec.Raw) -> Any:
    return json.loads(bytes(json_))


@given(any_functions())
def test_whatever_is_written_is_read_as_it_was_and_all_else_is_unreadable(function: Function) -> None:
    try:
        written = document(function, updated=1)
    except FunctionUnreadable:
        return

    found = read(written).function

    for name in ("path", "name", "version", "kind", "image", "code", "binary", "limits", "provide_api_key"):
        assert getattr(found, name) == getattr(function, name)
    assert (found.main, found.revision) == (function.main or None, function.revision or None)
    assert values(found.parameters) == values(function.parameters)
    assert values(found.annotations)[: len(values(function.annotations))] == values(function.annotations)


REASONS = [
    ({"name": "a%20b"}, "name is no well-formed name"),
    ({"path": "g\u00e4st"}, "namespace is no path of well-formed names"),
    ({"path": "guest//pkg"}, "its path would be read as another"),
    ({"kind": "Python:3"}, "its kind would be read as another"),
    ({"kind": "sequence"}, "it is a sequence, which controllers run"),
    ({"kind": "blackbox"}, "exec.image is no string"),
    ({"image": "example/own"}, "its image would be read as another"),
    ({"version": "1"}, "its version would be read as another"),
    ({"code": None}, "exec.code is missing"),
    ({"code": "x = 1", "binary": True}, "exec.code should be binary and is no base64"),
    ({"code": "b W F p", "binary": True}, "exec.code should be binary and is no base64"),
    ({"code": "\ud800"}, "it has lone surrogates, which are no Unicode"),
    ({"parameters": raw('[],"publish":true')}, "its parameters would be read as another"),
    ({"limits": Limits(timeout=1 << 63)}, "Expected `int` <= 9223372036854775807 - at `$.limits.timeout`"),
]


@pytest.mark.parametrize(("changes", "reason"), REASONS)
def test_what_no_document_can_say_is_unreadable_and_says_why(changes: dict[str, Any], reason: str) -> None:
    function = a_function(**changes)

    with pytest.raises(FunctionUnreadable) as caught:
        document(function, updated=1)

    assert (caught.value.document_id, caught.value.reason) == (function.document_id, reason)
    assert caught.value.executable is (function.kind != "sequence")


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
