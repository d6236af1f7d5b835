"""Activation messages to start from, and ways to change them."""

import json
from typing import Any

import msgspec
import pytest

from invoker.errors import MalformedRequest
from invoker.wire.request import parse
from tests.specification import BLOCKING, COMPONENT, HEALTH

EXAMPLES = [BLOCKING, HEALTH, COMPONENT]
SECRET = "hush-0123"
ABSENT: Any = object()


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def changed(example: bytes = BLOCKING, /, **fields: Any) -> bytes:
    """Return a message with other fields; `user__limits={}` goes into the user, `ABSENT` takes a field away."""
    return altered(json.loads(example), fields)


def altered(document: dict[str, Any], fields: dict[str, Any]) -> bytes:
    """Change a document's fields, `path__to__field` by name, and return it as JSON."""
    for path, value in fields.items():
        *places, last = path.split("__")
        target = document
        for place in places:
            target = target[place]
        if value is ABSENT:
            del target[last]
        else:
            target[last] = value
    return json.dumps(document).encode()


def fault(body: bytes) -> str:
    with pytest.raises(MalformedRequest) as caught:
        parse(body)
    return str(caught.value)
