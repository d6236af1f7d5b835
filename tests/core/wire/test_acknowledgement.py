"""Acknowledgements: the shapes of spec 2.2 and 2.8."""

import json

import msgspec
import pytest

from invoker.config import Compat
from invoker.entities.activation import Ack, Activation, Outcome, Status
from invoker.entities.function import Limits
from invoker.entities.node import Node
from invoker.testing.builders import an_activation, an_outcome
from invoker.wire.acknowledgement import Acknowledger, invoker
from tests.core.wire.acknowledgements import NODE, answering, facts, upstream
from tests.core.wire.activations import RESIZED

NAMELESS = Node(id=3, memory=2147483648)
TRANSID = '["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123]'
CHILD = (
    '["Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0Pp",1790000001500,true,["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123,true]]'
)
ANSWERED = msgspec.structs.replace(
    RESIZED, limits=Limits(timeout=60000, memory=256, logs=0, concurrency=1), blocking=True
)
"""As the example of spec 2.2 has it."""
SUMMED = Activation(
    activation_id="9b8c7d6e5f4a43218765fedcba012345",
    namespace="zoe",
    subject="zoe-subject",
    path="zoe/sum",
    name="sum",
    version="0.0.2",
    kind="python:3.11",
    limits=Limits(),
    outcome=an_outcome(b'{"error":"not a number"}', Status.APPLICATION_ERROR),
    start=1790000001510,
    end=1790000001533,
    wait_time=10,
    cause="11112222333344445555666677778888",
    blocking=True,
)
BROKEN = an_activation(
    activation_id="3f2a9c5d7e1b48068a4d2c6e90b1f735", outcome=an_outcome(b'{"error":"our fault"}', Status.WHISK_ERROR)
)
COMBINED = """{"transid":["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123],
 "response":{"namespace":"zoe","name":"resize","subject":"zoe-subject",
  "activationId":"3f2a9c5d7e1b48068a4d2c6e90b1f735","start":1790000000180,"end":1790000000420,
  "response":{"statusCode":0,"result":{"ok":true},"size":11},
  "logs":[],"version":"0.0.7","publish":false,
  "annotations":[{"key":"path","value":"acme/tools/resize"},{"key":"kind","value":"nodejs:20"},
   {"key":"timeout","value":false},{"key":"waitTime","value":57},{"key":"initTime","value":90},
   {"key":"binding","value":"zoe/mytools"},
   {"key":"limits","value":{"timeout":60000,"memory":256,"logs":0,"concurrency":1}}],
  "duration":240},
 "isSystemError":false,
 "instance":{"instance":3,"userMemory":"2147483648 B","instanceType":"invoker","tags":[],"dedicatedNamespaces":[],
  "uniqueName":"node-b","displayedName":"node-b"}}"""
SHRUNK = """{"transid":["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123],
 "response":"3f2a9c5d7e1b48068a4d2c6e90b1f735","isSystemError":true,
 "instance":{"instance":3,"userMemory":"2147483648 B","instanceType":"invoker","tags":[],"dedicatedNamespaces":[]}}"""
COMPLETION = """{"transid":["sid_invokerHealth",1789999000000],"activationId":"c0ffee00c0ffee00c0ffee00c0ffee00",
 "isSystemError":false,
 "instance":{"instance":3,"userMemory":"2147483648 B","instanceType":"invoker","tags":[],"dedicatedNamespaces":[]}}"""
RESULT = """{"transid":["Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0Pp",1790000001500,true,
  ["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123,true]],
 "response":{"namespace":"zoe","name":"sum","subject":"zoe-subject","activationId":"9b8c7d6e5f4a43218765fedcba012345",
  "start":1790000001510,"end":1790000001533,"cause":"11112222333344445555666677778888",
  "response":{"statusCode":1,"result":{"error":"not a number"},"size":24},"logs":[],"version":"0.0.2","publish":false,
  "annotations":[{"key":"path","value":"zoe/sum"},{"key":"kind","value":"python:3.11"},{"key":"timeout","value":false},
   {"key":"causedBy","value":"sequence"},{"key":"waitTime","value":10},
   {"key":"limits","value":{"timeout":60000,"memory":256,"logs":10,"concurrency":1}}],"duration":23}}"""


# --- the examples of spec 2.2 and 2.8 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "ack", "transid", "activation", "expected"),
    [
        pytest.param(NODE, Ack.COMBINED, TRANSID, ANSWERED, COMBINED, id="combined"),
        pytest.param(NAMELESS, Ack.SHRUNK, TRANSID, BROKEN, SHRUNK, id="shrunk"),
        pytest.param(
            NAMELESS,
            Ack.COMPLETION,
            '["sid_invokerHealth",1789999000000]',
            an_activation(activation_id="c0ffee00c0ffee00c0ffee00c0ffee00"),
            COMPLETION,
            id="completion",
        ),
        pytest.param(NODE, Ack.RESULT, CHILD, SUMMED, RESULT, id="result"),
    ],
)
def test_acknowledgements_are_those_of_the_specification(
    node: Node, ack: Ack, transid: str, activation: Activation, expected: str
) -> None:
    message = upstream(node).encode(ack, answering(transid), activation)

    assert facts(message) == facts(expected)


def test_the_go_variants_controller_is_told_in_its_own_spelling() -> None:
    acknowledger = Acknowledger(NODE, spelling="invoker", compat="functions")
    activation = an_activation(activation_id="3f2a9c5d7e1b48068a4d2c6e90b1f735")

    message = acknowledger.encode(Ack.SHRUNK, answering('["abc",1790000000123]'), activation)

    assert json.loads(message) == {
        "transid": ["abc", 1790000000123],
        "response": "3f2a9c5d7e1b48068a4d2c6e90b1f735",
        "isSystemError": False,
        "invoker": {"instance": 3, "userMemory": "0 g"},
    }


@pytest.mark.parametrize("ack", [Ack.COMBINED, Ack.SHRUNK, Ack.COMPLETION])
def test_both_spellings_together_serve_either_controller(ack: Ack) -> None:
    acknowledger = Acknowledger(NODE, spelling="both", compat="openwhisk")

    message = json.loads(acknowledger.encode(ack, answering(TRANSID), ANSWERED))

    assert message["instance"] == json.loads(invoker(NODE))
    assert message["invoker"] == {"instance": 3, "userMemory": "0 g"}


def test_a_result_neither_frees_the_slot_nor_speaks_of_errors() -> None:
    acknowledger = Acknowledger(NODE, spelling="both", compat="openwhisk")

    message = json.loads(acknowledger.encode(Ack.RESULT, answering(TRANSID), ANSWERED))

    assert message.keys() == {"transid", "response"}


# --- what is easily got wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ack", list(Ack))
@pytest.mark.parametrize("transid", [TRANSID, CHILD, '["a", 1.0 ,true]', "[]", '"nonsense"'])
def test_the_transid_is_echoed_as_it_came(ack: Ack, transid: str) -> None:
    message = upstream().encode(ack, answering(transid), ANSWERED)

    assert f'"transid":{transid}' in message.decode()


@pytest.mark.parametrize("ack", [Ack.COMBINED, Ack.SHRUNK, Ack.COMPLETION])
@pytest.mark.parametrize("status", list(Status))
def test_only_our_own_failures_are_system_errors(ack: Ack, status: Status) -> None:
    activation = an_activation(outcome=an_outcome(b'{"error":"why"}', status))

    message = json.loads(upstream().encode(ack, answering(TRANSID), activation))

    assert message["isSystemError"] is (status is Status.WHISK_ERROR)


@pytest.mark.parametrize("ack", [Ack.RESULT, Ack.COMBINED])
@pytest.mark.parametrize(("compat", "logs"), [("openwhisk", []), ("functions", list(ANSWERED.logs))])
def test_logs_go_only_to_the_controller_that_stores_them(ack: Ack, compat: Compat, logs: list[str]) -> None:
    acknowledger = Acknowledger(NODE, spelling="both", compat=compat)

    message = json.loads(acknowledger.encode(ack, answering(TRANSID), ANSWERED))

    assert message["response"]["logs"] == logs


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
def test_no_field_of_a_database_is_acknowledged(compat: Compat) -> None:
    acknowledger = Acknowledger(NODE, spelling="both", compat=compat)

    message = json.loads(acknowledger.encode(Ack.COMBINED, answering(TRANSID), ANSWERED))

    assert not message["response"].keys() & {"_id", "updated", "entityType"}


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
def test_what_upstreams_reader_requires_is_there_even_when_nothing_is_known(compat: Compat) -> None:
    activation = an_activation(
        limits=None, wait_time=None, kind="unknown", outcome=Outcome(Status.WHISK_ERROR, msgspec.Raw(b'{"error":"x"}'))
    )
    acknowledger = Acknowledger(NODE, spelling="both", compat=compat)

    response = json.loads(acknowledger.encode(Ack.COMBINED, answering(TRANSID), activation))["response"]

    required = "namespace name subject activationId start end response logs version publish annotations duration"
    assert response.keys() == set(required.split())
    assert response["logs"] == []
    assert all(each.keys() == {"key", "value"} for each in response["annotations"])
    assert "result" in response["response"]


def test_odd_names_are_escaped() -> None:
    activation = an_activation(name='a"b\\', path='n\n/a"b\\', namespace="ü\x00")

    message = upstream().encode(Ack.COMBINED, answering(TRANSID), activation)

    response = facts(message)["response"]
    assert response["name"] == 'a"b\\'
    assert response["namespace"] == "ü\x00"
    assert {"key": "path", "value": 'n\n/a"b\\'} in response["annotations"]


# --- the invoker's own identity ------------------------------------------------------------------------------------


def test_an_invoker_without_names_still_has_all_that_is_required() -> None:
    assert json.loads(invoker(NAMELESS)) == {
        "instance": 3,
        "userMemory": "2147483648 B",
        "instanceType": "invoker",
        "tags": [],
        "dedicatedNamespaces": [],
    }


def test_tags_and_dedicated_namespaces_are_told() -> None:
    node = Node(id=0, memory=1, tags=("gpu",), dedicated_namespaces=("zoe",))

    identity = json.loads(invoker(node))

    assert (identity["tags"], identity["dedicatedNamespaces"]) == (["gpu"], ["zoe"])
