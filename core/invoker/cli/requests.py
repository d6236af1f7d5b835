"""Activation messages as a controller would send them."""

import os
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from invoker.entities.function import FunctionRef
from invoker.entities.request import Caller, Request, Transaction


def new_request(
    ref: FunctionRef, arguments: Mapping[str, Any], environment: Mapping[str, str], *, blocking: bool = True
) -> Request:
    """Return a request in the name of the action's own namespace. `environment` becomes init parameters."""
    namespace = ref.path.split("/")[0]
    start = time.time_ns() // 1_000_000
    transaction_id = secrets.token_hex(16)
    content = {**arguments, **environment}
    return Request(
        activation_id=uuid.uuid4().hex,
        transaction=Transaction(
            transaction_id, start, extra_logging=False, raw=msgspec.Raw(msgspec.json.encode([transaction_id, start]))
        ),
        function=ref,
        caller=Caller(
            subject=f"{os.environ.get('USER') or 'local'}-cli", namespace=namespace, namespace_uuid=str(uuid.uuid4())
        ),
        controller="0",
        blocking=blocking,
        content=msgspec.Raw(msgspec.json.encode(content)),
        init_names=tuple(environment),
    )
