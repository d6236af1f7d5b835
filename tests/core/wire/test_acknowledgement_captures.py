"""Acknowledgements that a real broker saw."""

import json
from typing import Any

import msgspec
import pytest

from invoker.entities.activation import Ack
from invoker.entities.node import Node
from invoker.testing.builders import an_activation
from invoker.wire import record
from invoker.wire.acknowledgement import invoker
from tests.captures.reading import messages
from tests.core.wire.acknowledgements import answering, facts, upstream

SEEN = messages("completed0") + messages("completed1")
SEEN_NODE = Node(id=0, memory=2147483648, unique_name="up0", displayed_name="up0")


class Message(msgspec.Struct, rename="camel"):
    activation_id: str
    transid: msgspec.Raw


MESSAGES = {
    message.activation_id: message
    for message in (msgspec.json.decode(text, type=Message) for text in messages("invoker0"))
}


def seen_as(seen: dict[str, Any]) -> Ack:
    """Tell the kind of an acknowledgement by its keys, as the controller does (spec 2.2)."""
    if "instance" not in seen:
        return Ack.RESULT
    return Ack.COMBINED if "response" in seen else Ack.COMPLETION


def test_all_kinds_were_seen() -> None:
    kinds = [seen_as(json.loads(text)) for text in SEEN]

    assert len(kinds) == 35
    assert set(kinds) == {Ack.RESULT, Ack.COMBINED, Ack.COMPLETION}


@pytest.mark.parametrize("text", SEEN)
def test_the_same_facts_give_what_upstream_sent(text: bytes) -> None:
    seen = facts(text)
    activation_id = seen.get("activationId") or seen["response"]["activationId"]
    request = answering(bytes(MESSAGES[activation_id].transid).decode())
    if "response" in seen:
        activation = record.read(json.dumps(seen["response"]).encode())
    else:
        activation = an_activation(activation_id=activation_id)

    message = upstream(SEEN_NODE).encode(seen_as(seen), request, activation)

    assert facts(message) == seen
    assert types(facts(message)) == types(seen)


def types(value: Any) -> Any:
    """Return the types in a value: JSON's `1`, `1.0` and `true` are equal in Python."""
    if isinstance(value, dict):
        return {key: types(each) for key, each in value.items()}
    return [types(each) for each in value] if isinstance(value, list) else type(value)


def test_the_captured_ping_names_the_same_identity() -> None:
    (ping,) = messages("health")

    assert json.loads(ping)["name"] == json.loads(invoker(SEEN_NODE))
