"""Activation records read back: ours, and those of others."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.config import Compat
from invoker.entities.activation import Activation, Outcome, Status
from invoker.entities.function import Limits
from invoker.testing.builders import an_activation
from invoker.wire.record import read, record, recorded
from tests.core.wire.activations import RESIZED, STORED, stored


def test_the_document_of_the_specification_is_read() -> None:
    assert read(STORED.encode()) == RESIZED


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-21T14:13:20.180Z",
        "2026-09-21T14:13:20.180+00:00",
        "2026-09-21T14:13:20.180",
        "2026-09-21T16:13:20.180123456+02:00",
    ],
)
def test_times_may_be_texts(text: str) -> None:
    written = stored(RESIZED) | {"start": text}

    assert read(json.dumps(written).encode()).start == 1790000000180


def test_records_of_others_need_only_what_all_have() -> None:
    foreign = {
        "activationId": "7" * 32,
        "namespace": "zoe",
        "name": "on-upload",
        "start": 1790000000180,
        "end": 0,
        "response": {"statusCode": 0},
        "logs": None,
        "annotations": None,
        "unknown": [1],
    }

    activation = read(json.dumps(foreign).encode())

    assert (activation.path, activation.kind, activation.limits) == ("zoe/on-upload", "unknown", None)
    assert (activation.start, activation.duration, activation.logs) == (1790000000180, 0, ())
    assert bytes(activation.outcome.response) == b"null"


def test_annotations_of_others_are_notes_if_they_are_plain() -> None:
    written = stored(RESIZED)
    written["annotations"] += [
        {"key": "topmost", "value": True},
        {"key": "team", "value": "red"},
        {"key": "count", "value": 3},
        {"key": "nested", "value": {}},
        {"key": "bare"},
    ]

    assert read(json.dumps(written).encode()).notes == (("team", "red"), ("count", 3))


@pytest.mark.parametrize("key", ["path", "kind", "limits", "timeout", "waitTime", "initTime", "binding", "entry"])
@pytest.mark.parametrize("value", [[1], {"timeout": "long"}, 1.5, None])
def test_an_annotation_of_another_type_is_as_if_absent(key: str, value: object) -> None:
    written = stored(RESIZED)
    others = [each for each in written["annotations"] if each["key"] != key]
    odd = written | {"annotations": [*others, {"key": key, "value": value}]}
    absent = written | {"annotations": others}

    assert read(json.dumps(odd).encode()) == read(json.dumps(absent).encode())


def test_lone_surrogates_in_a_result_are_kept() -> None:
    activation = an_activation(outcome=Outcome(Status.SUCCESS, msgspec.Raw(b'{"a":"\\ud800", "n":1.10}'), 24))

    assert read(recorded(activation, compat="openwhisk", updated=0).document) == activation


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"activationId":"1","namespace":"n","name":"a","start":1}',
        b'{"activationId":"1","namespace":"n","name":"a","start":"soon","response":{"statusCode":0}}',
        b'{"activationId":"1","namespace":"n","name":"a","start":1,"response":{"statusCode":9}}',
        b'{"activationId":"1","namespace":"n","name":"\\ud800","start":1,"response":{"statusCode":0}}',
        b'{"activationId":"1","namespace":"n","name":"a","start":1,"response":{"statusCode":0,"result":"\xff"}}',
        b'{"activationId":"1","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"lone":"\\ud800","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the contract is no narrower)
        read(text)


TEXT = st.text(max_size=20)
MILLISECONDS = st.integers(0, 2**53)
TIMES = st.none() | st.integers(1, 2**40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
RESPONSES = JSON.map(lambda value: msgspec.Raw(json.dumps(value).encode()))
NOTES = st.dictionaries(TEXT.map("note-{}".format), TEXT | st.integers(-(2**63), 2**63), max_size=3)


@st.composite
def limits(draw: st.DrawFn, compat: Compat) -> Limits:
    return Limits(
        timeout=draw(st.integers(1, 2**40)),
        memory=draw(st.integers(0, 2**40)),
        logs=draw(st.integers(0, 2**40)),
        concurrency=draw(st.integers(1, 500)) if compat == "openwhisk" else 1,
    )


@st.composite
def activations(draw: st.DrawFn, compat: Compat) -> Activation:
    """Draw records of which nothing is lost on the way.

    Documents don't tell whether it was blocking; upstream's have no entry point, the Go variant's no concurrency.
    """
    upstream = compat == "openwhisk"
    start = draw(MILLISECONDS)
    cause = draw(st.none() | TEXT)
    fetched = draw(st.booleans())
    notes = draw(NOTES)
    return Activation(
        activation_id=draw(TEXT),
        namespace=draw(TEXT),
        subject=draw(TEXT),
        path=draw(TEXT.filter(bool)),
        name=draw(TEXT),
        version=draw(TEXT),
        kind=draw(TEXT.filter(bool)) if fetched else "unknown",
        limits=draw(limits(compat)) if fetched else None,
        outcome=Outcome(
            draw(st.sampled_from(Status)),
            draw(RESPONSES),
            draw(st.none() | MILLISECONDS if upstream else MILLISECONDS),
        ),
        start=start,
        end=draw(st.integers(max(1, start), 2**53 + 1)),
        wait_time=draw(TIMES) if upstream or cause is None else None,
        init_time=draw(TIMES),
        timed_out=draw(st.booleans()) if fetched or not upstream else False,
        cause=cause,
        binding=draw(st.none() | TEXT),
        main=None if upstream or not fetched else draw(st.none() | st.just("handler")),
        notes=tuple(notes.items()) if upstream else tuple(sorted(notes.items())),
        logs=tuple(draw(st.lists(TEXT, max_size=3))),
    )


@given(activations("openwhisk"))
def test_what_upstream_would_store_is_read_back(activation: Activation) -> None:
    assert read(recorded(activation, compat="openwhisk", updated=0).document) == activation


@given(activations("functions"))
def test_what_the_go_variant_would_store_is_read_back(activation: Activation) -> None:
    assert read(recorded(activation, compat="functions", updated=0).document) == activation


@given(activations("functions"))
def test_the_go_variants_annotations_are_sorted(activation: Activation) -> None:
    keys = [each.key for each in record(activation, "functions", ()).annotations]

    assert keys == sorted(set(keys))
