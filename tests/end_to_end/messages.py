"""What controllers send: a message to build others from."""

import json
import uuid
from typing import Any


def message(name: str, content: Any = None, *, namespace: str = "guest", **fields: Any) -> bytes:
    """Write a blocking message for an action of `guest`; `fields` replace whole fields of it."""
    uid = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502"
    whole = {
        "transid": [uuid.uuid4().hex, 1790000000000],
        "action": {"path": "guest", "name": name, "version": "0.0.1"},
        "revision": "1-0123456789abcdef0123456789abcdef",
        "user": {
            "subject": f"{namespace}-subject",
            "namespace": {"name": namespace, "uuid": uid},
            "authkey": {"api_key": f"{uid}:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP"},
            "rights": ["READ", "PUT", "DELETE", "ACTIVATE"],
            "limits": {},
        },
        "activationId": uuid.uuid4().hex,
        "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
        "blocking": True,
        "content": {} if content is None else content,
        "initArgs": [],
        "lockedArgs": {},
    }
    return json.dumps(whole | fields).encode()
