"""Activation messages that are written: what upstream's reader asks for, and what `parse` reads again."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.entities.function import FunctionRef
from invoker.entities.request import Caller, CallerLimits, Request, Transaction
from invoker.testing.builders import a_caller, a_ref, a_request, a_transaction
from invoker.wire.request import message, parse
from tests.captures.reading import messages
from tests.core.wire.examples import EXAMPLES, raw

NAMES = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_@ .&-]{0,20}[A-Za-z0-9_@.&-])?", fullmatch=True)
PATHS = st.lists(NAMES, min_size=1, max_size=2).map("/".join)
TEXTS = st.text(max_size=12)
IDS = st.uuids().map(lambda one: one.hex)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
SIZES = st.integers(0, (1 << 63) - 1)
STARTS = st.integers(0, 1 << 45)


def jsons(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[msgspec.Raw]:
    return strategy.map(lambda value: raw(json.dumps(value)))


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    parent: list[Any] = draw(st.sampled_from([[], [["parent", 1]], [["parent", 1, True, ["grandparent", 0]]]]))
    extra_logging = draw(st.booleans())
    identity, start = draw(TEXTS), draw(STARTS)
    array = [identity, start, *([True] if extra_logging else []), *parent]
    return Transaction(identity, start, extra_logging, raw(json.dumps(array)))


NOTHING_IS_FINITE = st.floats(allow_nan=False, allow_infinity=False)
CONTENT = st.recursive(
    st.none() | st.booleans() | st.integers() | NOTHING_IS_FINITE | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
    max_leaves=8,
).filter(lambda value: isinstance(value, list | dict))

LIMITS = st.builds(
    CallerLimits,
    store_activations=st.booleans(),
    **{
        name: st.none() | NUMBERS
        for name in CallerLimits.__struct_fields__
        if name not in {"store_activations", "max_payload", "truncation"}
    },
    max_payload=st.none() | SIZES,
    truncation=st.none() | SIZES,
)

REQUESTS = st.builds(
    Request,
    activation_id=IDS,
    transaction=transactions(),
    function=st.builds(
        FunctionRef,
        path=PATHS,
        name=NAMES,
        version=st.tuples(*[st.integers(1, 9999)] * 3).map(lambda parts: ".".join(map(str, parts))),
        revision=st.none() | TEXTS.filter(bool),
        binding=st.none() | PATHS,
    ),
    caller=st.builds(
        Caller,
        subject=st.text(min_size=5, max_size=12),
        namespace=NAMES,
        namespace_uuid=TEXTS,
        authkey=jsons(st.dictionaries(TEXTS, TEXTS)),
        limits=LIMITS,
        annotations=st.none() | jsons(st.lists(st.fixed_dictionaries({"key": TEXTS, "value": TEXTS}))),
    ),
    controller=st.from_regex(r"[a-zA-Z0-9._-]{1,128}", fullmatch=True),
    blocking=st.booleans(),
    content=st.none() | jsons(CONTENT),
    init_names=st.lists(TEXTS, max_size=3).map(tuple),
    locked=st.dictionaries(TEXTS, TEXTS, max_size=3),
    cause=st.none() | IDS,
)


@given(REQUESTS)
def test_a_request_that_is_written_is_read_again(request_: Request) -> None:
    assert parse(message(request_)) == request_


@pytest.mark.parametrize("body", [*EXAMPLES, *messages("invoker0")])
def test_a_message_that_was_read_can_be_written_again(body: bytes) -> None:
    request = parse(body)

    assert parse(message(request)) == request


def test_t17_a_written_message_has_all_that_upstream_asks_for() -> None:
    request = a_request(
        a_ref(revision=None),
        transaction=a_transaction(),
        caller=a_caller(limits=CallerLimits(store_activations=False, max_payload=1 << 20)),
        content=None,
    )

    document = json.loads(message(request))

    assert document == {
        "transid": [request.transaction.id, request.transaction.start],
        "action": {"path": "guest", "name": request.function.name, "version": "0.0.1"},
        "revision": None,
        "user": {
            "subject": "guest-subject",
            "namespace": {"name": "guest", "uuid": request.caller.namespace_uuid},
            "authkey": json.loads(bytes(request.caller.authkey)),
            "rights": ["READ", "PUT", "DELETE", "ACTIVATE"],
            "limits": {"storeActivations": False, "maxPayloadSize": "1048576 B"},
        },
        "activationId": request.activation_id,
        "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
        "blocking": True,
        "initArgs": [],
        "lockedArgs": {},
    }


@pytest.mark.parametrize("body", messages("invoker0"))
def test_a_written_message_has_the_keys_of_a_real_one(body: bytes) -> None:
    written = json.loads(message(parse(body)))

    assert written == json.loads(body)
