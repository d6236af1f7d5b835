"""Activation records: written as spec 8.1 and 8.8 say, kept as 8.5 says, and read back."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.config import Compat
from invoker.config.sections import StoreLevel
from invoker.entities.activation import Activation, Outcome, Status
from invoker.entities.function import Limits
from invoker.testing.builders import an_activation, an_outcome
from invoker.wire.record import annotations, document, is_recorded, read

RESIZED = Activation(
    activation_id="3f2a9c5d7e1b48068a4d2c6e90b1f735",
    namespace="zoe",
    subject="zoe-subject",
    path="acme/tools/resize",
    name="resize",
    version="0.0.7",
    kind="nodejs:20",
    limits=Limits(timeout=60000, memory=256, logs=10, concurrency=1),
    outcome=an_outcome(b'{"ok":true}'),
    start=1790000000180,
    end=1790000000420,
    wait_time=57,
    init_time=90,
    binding="zoe/mytools",
    logs=("2026-09-21T14:13:20.310455Z    stdout: resized",),
)

STORED = """{"_id":"zoe/3f2a9c5d7e1b48068a4d2c6e90b1f735","entityType":"activation","updated":1790000000425,
 "namespace":"zoe","name":"resize","version":"0.0.7","publish":false,"subject":"zoe-subject",
 "activationId":"3f2a9c5d7e1b48068a4d2c6e90b1f735","start":1790000000180,"end":1790000000420,"duration":240,
 "response":{"statusCode":0,"result":{"ok":true},"size":11},
 "logs":["2026-09-21T14:13:20.310455Z    stdout: resized"],
 "annotations":[{"key":"path","value":"acme/tools/resize"},{"key":"kind","value":"nodejs:20"},{"key":"timeout","value":false},
  {"key":"waitTime","value":57},{"key":"initTime","value":90},{"key":"binding","value":"zoe/mytools"},
  {"key":"limits","value":{"timeout":60000,"memory":256,"logs":10,"concurrency":1}}]}"""


def stored(activation: Activation, compat: Compat = "openwhisk") -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(document(activation, compat=compat, updated=1790000000425))
    return parsed


def noted(activation: Activation, compat: Compat = "openwhisk") -> dict[str, Any]:
    """Return the annotations by key; none may be there twice."""
    listed = stored(activation, compat)["annotations"]
    assert len({each["key"] for each in listed}) == len(listed)
    return {each["key"]: each["value"] for each in listed}


def by_key(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(listed, key=lambda each: str(each["key"]))


# --- upstream's documents ------------------------------------------------------------------------------------------


def test_the_document_is_that_of_the_specification() -> None:
    ours, theirs = stored(RESIZED), json.loads(STORED)

    assert by_key(ours.pop("annotations")) == by_key(theirs.pop("annotations"))
    assert ours == theirs


def test_an_action_that_was_not_fetched_leaves_little_to_say() -> None:
    activation = an_activation(path="zoe/gone", kind="unknown", limits=None, wait_time=None, cause="1" * 32)

    assert noted(activation) == {"path": "zoe/gone", "kind": "unknown", "causedBy": "sequence"}


def test_a_warm_start_has_no_init_time() -> None:
    assert "initTime" not in noted(an_activation(init_time=None))
    assert noted(an_activation(init_time=0))["initTime"] == 0


def test_a_wait_time_may_be_negative() -> None:
    assert noted(an_activation(wait_time=-3))["waitTime"] == -3


def test_a_step_of_a_sequence_names_its_cause() -> None:
    activation = an_activation(cause="11112222333344445555666677778888")

    assert stored(activation)["cause"] == "11112222333344445555666677778888"
    assert noted(activation)["causedBy"] == "sequence"


def test_what_is_unknown_is_left_out() -> None:
    activation = an_activation(outcome=Outcome(Status.WHISK_ERROR, msgspec.Raw(b'{"error":"x"}')))

    assert stored(activation)["response"] == {"statusCode": 3, "result": {"error": "x"}}
    assert "cause" not in stored(activation)
    assert not noted(activation).keys() & {"causedBy", "binding", "initTime"}


def test_a_time_limit_that_was_reached_is_annotated() -> None:
    assert noted(an_activation(timed_out=True))["timeout"] is True


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
def test_our_notes_are_annotations(compat: Compat) -> None:
    activation = an_activation(notes=(("peakMemory", 268435456), ("coldStart", "no container")))

    found = noted(activation, compat)

    assert (found["peakMemory"], found["coldStart"]) == (268435456, "no container")


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
def test_the_result_is_passed_on_as_it_came(compat: Compat) -> None:
    result = b'{ "n": 1.10, "e": 1E400, "lone": "\\ud800", "n": "\xc3\xa9" }'

    written = document(an_activation(outcome=an_outcome(result)), compat=compat, updated=0)

    assert result in written


# --- the Go variant's documents ------------------------------------------------------------------------------------


def test_the_go_variants_document_has_its_own_form() -> None:
    activation = msgspec.structs.replace(RESIZED, main="handler")

    written = stored(activation, "functions")

    assert not written.keys() & {"updated", "entityType"}
    assert list(written)[-1] == "_id"
    assert written["_id"] == "zoe/3f2a9c5d7e1b48068a4d2c6e90b1f735"
    assert written["logs"] == list(RESIZED.logs)
    assert written["annotations"] == [
        {"key": "binding", "value": "zoe/mytools"},
        {"key": "entry", "value": "handler"},
        {"key": "gbs", "value": 0.075},
        {"key": "initTime", "value": 90},
        {"key": "kind", "value": "nodejs:20"},
        {"key": "limits", "value": {"timeout": 60000, "memory": 256, "logs": 10}},
        {"key": "path", "value": "acme/tools/resize"},
        {"key": "timeout", "value": False},
        {"key": "waitTime", "value": 57},
    ]


def test_the_go_variant_says_something_even_of_an_action_that_was_not_fetched() -> None:
    activation = an_activation(path="zoe/gone", kind="unknown", limits=None, wait_time=None)

    assert noted(activation, "functions") == {
        "entry": "",
        "gbs": 0,
        "kind": "",
        "limits": {"timeout": 0, "memory": 0, "logs": 0},
        "path": "zoe/gone",
        "timeout": False,
    }


@pytest.mark.parametrize(
    ("memory", "duration", "expected"),
    [
        (256, 1, "0.025"),
        (256, 100, "0.025"),
        (256, 101, "0.05"),
        (512, 2000, "1"),
        (128, 0, "0"),
        (128, -500, "0"),
    ],
)
def test_gigabyte_seconds_count_started_tenths_of_a_second(memory: int, duration: int, expected: str) -> None:
    activation = an_activation(limits=Limits(memory=memory), start=1000, end=1000 + duration)

    written = document(activation, compat="functions", updated=0)

    assert f'{{"key":"gbs","value":{expected}}}' in written.decode()


def test_builders_of_functions_cost_nothing() -> None:
    assert noted(an_activation(path="fnsystem/builder/build"), "functions")["gbs"] == 0


@pytest.mark.parametrize("time", [None, 0, -1])
def test_times_that_are_not_above_zero_are_left_out(time: int | None) -> None:
    found = noted(an_activation(wait_time=time, init_time=None if time is None else 0), "functions")

    assert not found.keys() & {"waitTime", "initTime"}


def test_steps_of_a_sequence_have_no_wait_time_in_the_go_variant() -> None:
    found = noted(an_activation(cause="1" * 32, wait_time=5), "functions")

    assert "waitTime" not in found
    assert found["causedBy"] == "sequence"


def test_the_callers_annotations_are_recorded_but_never_in_place_of_ours() -> None:
    brought = b'[{"key":"team","value":{"n":1.10}},{"key":"path","value":"forged"},{"key":"empty","value":null}]'

    found = noted(an_activation(caller_annotations=msgspec.Raw(brought)), "functions")

    assert (found["team"], found["empty"], found["path"]) == ({"n": 1.1}, None, "guest/hello")


def test_upstream_does_not_record_the_callers_annotations() -> None:
    brought = msgspec.Raw(b'[{"key":"team","value":"a"}]')

    assert "team" not in noted(an_activation(caller_annotations=brought))


@pytest.mark.parametrize("brought", [b"{}", b"[1]", b"null", b'[{"value":1}]', b'"x"'])
def test_annotations_that_are_none_are_left_out(brought: bytes) -> None:
    plain = an_activation()

    odd = msgspec.structs.replace(plain, caller_annotations=msgspec.Raw(brought))

    assert stored(odd, "functions") == stored(plain, "functions")


def test_the_go_variant_counts_the_size_of_our_errors_too() -> None:
    activation = an_activation(outcome=Outcome(Status.DEVELOPER_ERROR, msgspec.Raw('{"error":"ü"}'.encode())))

    assert stored(activation, "functions")["response"]["size"] == 14


# --- what is kept --------------------------------------------------------------------------------------------------

LEVELS: list[tuple[StoreLevel, set[Status]]] = [
    ("always", set(Status)),
    ("failures", {Status.APPLICATION_ERROR, Status.DEVELOPER_ERROR, Status.WHISK_ERROR}),
    ("failures-not-application-errors", {Status.DEVELOPER_ERROR, Status.WHISK_ERROR}),
]


def recorded(activation: Activation, **changes: Any) -> bool:
    rule: dict[str, Any] = {
        "store_activations": True,
        "extra_logging": False,
        "blocking_level": "always",
        "non_blocking_level": "always",
        "compat": "openwhisk",
    }
    return is_recorded(activation, **(rule | changes))


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize(("level", "kept"), LEVELS)
@pytest.mark.parametrize("blocking", [True, False])
def test_each_level_keeps_what_it_says(status: Status, level: StoreLevel, kept: set[Status], *, blocking: bool) -> None:
    activation = an_activation(outcome=an_outcome(status=status), blocking=blocking)
    own, other = ("blocking_level", "non_blocking_level") if blocking else ("non_blocking_level", "blocking_level")

    # The other kind's level is the opposite: it has no say.
    assert recorded(activation, **{own: level, other: "always"}) is (status in kept)
    assert recorded(activation, **{own: level, other: "failures-not-application-errors"}) is (status in kept)


def test_extra_logging_keeps_what_the_level_would_not() -> None:
    assert not recorded(an_activation(), non_blocking_level="failures")
    assert recorded(an_activation(), non_blocking_level="failures", extra_logging=True)


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
@pytest.mark.parametrize("blocking", [True, False])
def test_a_namespace_that_wants_no_records_has_none(compat: Compat, *, blocking: bool) -> None:
    activation = an_activation(blocking=blocking, outcome=an_outcome(status=Status.WHISK_ERROR))

    assert not recorded(activation, store_activations=False, extra_logging=True, compat=compat)


@pytest.mark.parametrize("level", ["always", "failures"])
def test_the_go_variants_controller_stores_blocking_activations_itself(level: StoreLevel) -> None:
    rule: dict[str, Any] = {"compat": "functions", "blocking_level": level, "non_blocking_level": level}

    assert not recorded(an_activation(blocking=True), extra_logging=True, **rule)
    assert recorded(an_activation(blocking=False), **rule)


# --- reading -------------------------------------------------------------------------------------------------------


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

    assert read(document(activation, compat="openwhisk", updated=0)) == activation


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


# --- there and back ------------------------------------------------------------------------------------------------

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
def activations(draw: st.DrawFn, compat: Compat) -> Activation:
    """Draw records of which nothing is lost on the way.

    Documents don't tell whether it was blocking; upstream's have no entry point, the Go variant's no concurrency.
    """
    upstream = compat == "openwhisk"
    start = draw(MILLISECONDS)
    limits = Limits(
        timeout=draw(st.integers(1, 2**40)),
        memory=draw(st.integers(0, 2**40)),
        logs=draw(st.integers(0, 2**40)),
        concurrency=draw(st.integers(1, 500)) if upstream else 1,
    )
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
        limits=limits if fetched else None,
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
    assert read(document(activation, compat="openwhisk", updated=0)) == activation


@given(activations("functions"))
def test_what_the_go_variant_would_store_is_read_back(activation: Activation) -> None:
    assert read(document(activation, compat="functions", updated=0)) == activation


@given(activations("functions"))
def test_the_go_variants_annotations_are_sorted(activation: Activation) -> None:
    keys = [each.key for each in annotations(activation, "functions")]

    assert keys == sorted(set(keys))
