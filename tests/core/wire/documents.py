"""Action documents to start from."""

import copy
from typing import Any

import pytest

from invoker.errors import FunctionUnreadable
from invoker.wire.function import Stored, read
from tests.core.wire.examples import altered

INLINE = {
    "_id": "acme/tools/resize",
    "_rev": "4-5d1f0c9be2a74c0e8d7b6a5948372615",
    "entityType": "action",
    "updated": 1789990000000,
    "namespace": "acme/tools",
    "name": "resize",
    "version": "0.0.7",
    "publish": False,
    "exec": {"kind": "nodejs:20", "code": "function main() {}", "binary": False, "main": "handler"},
    "parameters": [
        {"key": "width", "value": 320},
        {"key": "LOG_LEVEL", "value": "info", "init": True},
        {"key": "token", "value": "AAAADKChoqOkpaanqKmq", "encryption": "aes-128"},
    ],
    "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
    "annotations": [{"key": "provide-api-key", "value": False}, {"key": "exec", "value": "nodejs:20"}],
}

UUID = "4f6d2a1e-9c3b-4b7a-8d5e-1a2b3c4d5e6f"

ATTACHED = INLINE | {
    "exec": {
        "kind": "nodejs:20",
        "code": {"attachmentName": f"couch:{UUID}", "attachmentType": "application/octet-stream"},
        "binary": True,
        "main": "handler",
    },
    "_attachments": {
        UUID: {
            "content_type": "application/octet-stream",
            "revpos": 4,
            "digest": "md5-AAAAAAAAAAAAAAAAAAAAAA==",
            "length": 20480,
            "stub": True,
        }
    },
}
"""Spec 6.2."""

BLACKBOX = INLINE | {
    "exec": {
        "kind": "blackbox",
        "image": "registry.example.org/team/proc:1.4",
        "binary": False,
        "main": "main",
        "code": {
            "attachmentName": "mem:aGVsbG8=",
            "attachmentType": "text/plain; charset=UTF-8",
            "length": 5,
            "digest": "sha256-2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        },
    }
}
"""Spec 6.4."""


def changed(document: dict[str, Any] = INLINE, /, **fields: Any) -> bytes:
    """Return a document with other fields; `exec__code=…` goes into `exec`, `ABSENT` takes a field away."""
    return altered(copy.deepcopy(document), fields)


def stored(document: dict[str, Any] = INLINE, /, **fields: Any) -> Stored:
    """Read a changed document."""
    return read(changed(document, **fields))


def refusal(document: bytes) -> FunctionUnreadable:
    """Return why a document is not read."""
    with pytest.raises(FunctionUnreadable) as caught:
        read(document)
    assert caught.value.__cause__ is None
    return caught.value
