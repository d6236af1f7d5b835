"""Manifests to start from."""

import json
from typing import Any

import pytest

from invoker.errors import SettingsError
from invoker.wire.manifest import read

IMAGE = {"prefix": "openwhisk", "name": "action"}
CELL = {"initialCount": 1, "memory": "256 MB"}
REACTIVE = {"minCount": 1, "maxCount": 4, "ttl": "2 minutes", "threshold": 1, "increment": 2}


def version(kind: str = "python:3", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "image": IMAGE, **fields}


def manifest(*versions: Any, blackboxes: Any = None, **families: Any) -> bytes:
    runtimes = {**({"python": list(versions)} if versions else {}), **families}
    return json.dumps({"runtimes": runtimes, **({} if blackboxes is None else {"blackboxes": blackboxes})}).encode()


def faults(text: bytes) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert all(fault.startswith("runtimes.manifest: ") for fault in caught.value.faults)
    return [fault.removeprefix("runtimes.manifest: ") for fault in caught.value.faults]
