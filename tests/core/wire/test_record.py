"""Activation records, written as spec 8.1 and 8.8 say."""

import json
from typing import Any

import msgspec
import pytest

from invoker.config import Compat
from invoker.entities.activation import Activation, Outcome, Status
from invoker.entities.function import Limits
from invoker.testing.builders import an_activation, an_outcome
from invoker.wire.record import recorded
from tests.core.wire.activations import RESIZED, STORED, stored


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

    written = recorded(an_activation(outcome=an_outcome(result)), compat=compat, updated=0).document

    assert result in written


def test_half_a_surrogate_pair_in_a_log_line_is_replaced() -> None:
    half, pair = chr(0xD83D), chr(0xD83D) + chr(0xDC0D)

    assert stored(an_activation(logs=(f"a{half}b", pair, "c")))["logs"] == ["a\ufffdb", "\N{SNAKE}", "c"]


# --- the Go variant's documents ------------------------------------------------------------------------------------


def test_the_go_variants_document_has_its_own_form() -> None:
    activation = msgspec.structs.replace(RESIZED, main="handler")

    written = stored(activation, "functions")

    assert not written.keys() & {"updated", "entityType"}
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

    written = recorded(activation, compat="functions", updated=0).document

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
