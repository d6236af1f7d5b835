"""Activation messages: the examples of spec 1.8, real ones, and field by field what they may say."""

import json
from typing import Any

import msgspec
import pytest

from invoker.entities.function import FunctionRef
from invoker.entities.request import Caller, CallerLimits, Request, Transaction
from invoker.wire import request
from invoker.wire.request import parse
from tests.captures.reading import messages
from tests.core.wire.examples import ABSENT, SECRET, changed, fault, raw
from tests.specification import BLOCKING, COMPONENT, HEALTH

# --- the examples of spec 1.8 ------------------------------------------------------------------------------------


def test_spec_1_8_a_blocking_call_through_a_binding() -> None:
    request = parse(BLOCKING)

    assert request == Request(
        activation_id="3f2a9c5d7e1b48068a4d2c6e90b1f735",
        transaction=Transaction(
            "kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",
            1790000000123,
            extra_logging=False,
            raw=raw('["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123]'),
        ),
        function=FunctionRef(
            "acme/tools", "resize", "0.0.7", "4-5d1f0c9be2a74c0e8d7b6a5948372615", binding="zoe/mytools"
        ),
        caller=Caller(
            subject="zoe-subject",
            namespace="zoe",
            namespace_uuid="7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f",
            authkey=raw(json.dumps(json.loads(BLOCKING)["user"]["authkey"], separators=(",", ":"))),
            limits=CallerLimits(max_memory=512, max_payload=1 << 20),
        ),
        controller="0",
        blocking=True,
        content=raw(json.dumps(json.loads(BLOCKING)["content"], separators=(",", ":"))),
        init_names=("LOG_LEVEL",),
        locked={"token": "aes-128"},
    )


def test_spec_1_8_a_health_test_activation() -> None:
    request = parse(HEALTH)

    assert request.transaction.id == "sid_invokerHealth"
    assert request.function == FunctionRef("whisk.system", "invokerHealthTestAction0", "0.0.1", revision=None)
    assert request.caller.limits == CallerLimits()
    assert request.content is None
    assert not request.blocking
    assert (request.init_names, request.locked, request.cause) == ((), {}, None)


def test_spec_1_8_a_component_of_a_sequence() -> None:
    request = parse(COMPONENT)

    assert request.transaction.id == "Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0Pp"
    assert request.transaction.start == 1790000001500
    assert request.transaction.extra_logging
    assert json.loads(bytes(request.transaction.raw)) == json.loads(COMPONENT)["transid"]  # T4
    assert request.content == raw('[1,2,{"n":3}]')
    assert request.controller == "1"
    assert request.cause == "11112222333344445555666677778888"


@pytest.mark.parametrize("body", messages("invoker0"))
def test_every_real_message_is_read(body: bytes) -> None:
    document = json.loads(body)

    request = parse(body)

    assert request.activation_id == document["activationId"]
    assert request.function.document_id == f"{document['action']['path']}/{document['action']['name']}"
    assert request.function.version == document["action"]["version"]
    assert request.function.revision == document["revision"]
    assert json.loads(bytes(request.transaction.raw)) == document["transid"]
    assert [request.transaction.id, request.transaction.start] == document["transid"][:2]
    assert json.loads(bytes(request.content or b"null")) == document["content"]
    assert list(request.init_names) == document["initArgs"]
    assert request.locked == document["lockedArgs"]
    assert request.cause == document.get("cause")
    assert json.loads(bytes(request.caller.authkey)) == document["user"]["authkey"]


def test_there_are_real_messages() -> None:
    assert len(messages("invoker0")) == 20


# --- transid, spec 1.3 -------------------------------------------------------------------------------------------

CHILD = ["p", 1, True, ["grandparent", 0]]


@pytest.mark.parametrize(
    ("transid", "extra_logging"),
    [
        (["id", 17], False),
        (["id", 17.9], False),
        (["id", 17, True], True),
        (["id", 17, False], False),
        (["id", 17, CHILD], False),
        (["id", 17, True, CHILD], True),
        (["id", 17, False, CHILD], False),
        (["id", 17, ["what a parent is", {}, None]], False),
    ],
)
def test_spec_1_3_a_transaction_has_one_of_four_shapes(transid: list[Any], extra_logging: bool) -> None:  # noqa: FBT001 (a column of the table)
    transaction = parse(changed(transid=transid)).transaction

    assert (transaction.id, transaction.start, transaction.extra_logging) == ("id", 17, extra_logging)
    assert json.loads(bytes(transaction.raw)) == transid


@pytest.mark.parametrize(
    "transid",
    [
        None,
        7,
        "id",
        {},
        [],
        ["id"],
        [7, 17],
        ["id", "17"],
        ["id", True],
        ["id", None],
        ["id", 1e300],
        ["id", 1 << 70],
        ["id", 17, None],
        ["id", 17, 1],
        ["id", 17, "x"],
        ["id", 17, CHILD, True],
        ["id", 17, True, True],
        ["id", 17, True, CHILD, 1],
        ["\ud800", 17],
    ],
)
def test_spec_1_3_2_any_other_transaction_is_unknown_and_echoed(transid: Any) -> None:
    transaction = parse(changed(transid=transid)).transaction

    assert transaction.id == "sid_unknown"
    assert transaction.start > 1_700_000_000_000
    assert not transaction.extra_logging
    assert json.loads(bytes(transaction.raw)) == transid


def test_the_transaction_is_kept_byte_for_byte() -> None:
    transid = b'[ "id" , 1.7e1 ,\ttrue ]'

    transaction = parse(BLOCKING.replace(b'["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123]', transid)).transaction

    assert bytes(transaction.raw) == transid
    assert (transaction.id, transaction.start, transaction.extra_logging) == ("id", 17, True)


# --- the rest of spec 1.2 ----------------------------------------------------------------------------------------


def test_spec_1_2_an_activation_id_may_be_a_number() -> None:
    digits = "12345678901234567890123456789012"

    assert parse(changed(activationId=int(digits))).activation_id == digits


@pytest.mark.parametrize(
    "identity",
    [
        "",
        "3f2a9c5d7e1b48068a4d2c6e90b1f73",
        "3F2A9C5D7E1B48068A4D2C6E90B1F735",
        "g" * 32,
        "٣" * 32,
        "a" * 32 + "\n",
        17,
    ],
)
def test_spec_1_2_2_other_activation_ids_are_refused(identity: Any) -> None:
    assert "activationId" in fault(changed(activationId=identity))
    if identity:
        assert "cause" in fault(changed(cause=identity))


@pytest.mark.parametrize("cause", [ABSENT, None, ""])
def test_no_cause_is_none(cause: Any) -> None:
    assert parse(changed(COMPONENT, cause=cause)).cause is None


@pytest.mark.parametrize("controller", [{"asString": "0"}, {"asString": "a.b_c-9", "instanceType": "controller"}])
def test_spec_1_6_a_controller_needs_only_its_name(controller: Any) -> None:
    assert parse(changed(rootControllerIndex=controller)).controller == controller["asString"]


@pytest.mark.parametrize(
    "controller",
    [
        {},
        "0",
        {"asString": ""},
        {"asString": "a b"},
        {"asString": "../0"},
        {"asString": "0\n"},
        {"asString": "x" * 129},
        {"asString": "0", "instanceType": "invoker"},
    ],
)
def test_spec_1_6_other_controllers_are_refused(controller: Any) -> None:
    assert "rootControllerIndex" in fault(changed(rootControllerIndex=controller))


@pytest.mark.parametrize("content", [ABSENT, None])
def test_spec_1_9_3_there_may_be_no_content(content: Any) -> None:
    assert parse(changed(content=content)).content is None


@pytest.mark.parametrize("content", [7, SECRET, True, False])
def test_spec_1_9_2_a_scalar_as_content_is_refused(content: Any) -> None:
    text = fault(changed(content=content))

    assert text == "not an activation message: content is neither an object nor an array"


def test_content_is_kept_byte_for_byte() -> None:
    content = '{ "b":1.10,\t"a":[1e400, "\\u00e9", "é"] , "b" : -0.0 }'
    body = BLOCKING.replace(BLOCKING[BLOCKING.index(b'{"width"') : BLOCKING.index(b',\n "initArgs"')], content.encode())

    assert bytes(parse(body).content or b"").decode() == content


@pytest.mark.parametrize("content", ['{"\\ud800":"\\udfff", "n":1.10}', '["\\ud83d", "\\ud83d\\ude00", 1e400]'])
def test_lone_surrogates_in_content_are_legal(content: str) -> None:
    body = BLOCKING.replace(BLOCKING[BLOCKING.index(b'{"width"') : BLOCKING.index(b',\n "initArgs"')], content.encode())

    request = parse(body)

    assert bytes(request.content or b"").decode() == content
    assert request == msgspec.structs.replace(parse(BLOCKING), content=raw(content))


@pytest.mark.parametrize(
    "field", ["user__subject", "user__authkey", "revision", "initArgs", "lockedArgs", "action__name"]
)
def test_lone_surrogates_elsewhere_are_refused(field: str) -> None:
    value = {"user__authkey": {"k": "\ud800"}, "initArgs": ["\ud800"], "lockedArgs": {"\ud800": "x"}}

    fault(changed(**{field: value.get(field, "\ud800abcde")}))


def test_lone_surrogates_in_unknown_fields_are_ignored() -> None:
    assert parse(changed(traceContext={"x": "\ud800"})) == parse(changed())


@pytest.mark.parametrize("field", ["initArgs", "lockedArgs"])
@pytest.mark.parametrize("value", [ABSENT, None])
def test_spec_1_10_lists_of_names_may_be_absent(field: str, value: Any) -> None:
    request = parse(changed(**{field: value}))

    assert (request.init_names, request.locked)[field == "lockedArgs"] in ((), {})


def test_references_of_megabytes_are_not_remembered() -> None:
    before = request._known_ref.cache_info().misses

    large = parse(changed(revision="1-" + "x" * (1 << 20))).function
    after = request._known_ref.cache_info().misses
    parse(changed(revision="1-that-nobody-else-has"))

    assert large.revision is not None
    assert len(large.revision) == (1 << 20) + 2
    assert after == before
    assert request._known_ref.cache_info().misses == before + 1
