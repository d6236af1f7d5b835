"""Acknowledgements to look into."""

import json
from typing import Any

import msgspec

from invoker.entities.node import Node
from invoker.entities.request import Request
from invoker.testing.builders import a_request, a_transaction
from invoker.wire.acknowledgement import Acknowledger

NODE = Node(id=3, memory=2147483648, unique_name="node-b", displayed_name="node-b")


def answering(transid: str) -> Request:
    return a_request(transaction=a_transaction(raw=msgspec.Raw(transid.encode())))


def upstream(node: Node = NODE) -> Acknowledger:
    return Acknowledger(node, spelling="instance", compat="openwhisk")


def facts(message: bytes | str) -> dict[str, Any]:
    """Parse a message; the order of annotations means nothing (spec 8.2.3), but none may be there twice."""
    parsed: dict[str, Any] = json.loads(message)
    if isinstance(parsed.get("response"), dict):
        listed = parsed["response"]["annotations"]
        assert len({each["key"] for each in listed}) == len(listed)
        listed.sort(key=lambda each: each["key"])
    return parsed
