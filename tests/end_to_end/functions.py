"""Actions as the tests put them into the store."""

from typing import Any

from invoker.entities.function import Function, Limits
from invoker.wire.function import with_digest


def python(name: str, code: str, *, memory: int = 128, **rest: Any) -> Function:
    """Return a Python action; `rest` are limits, or fields of the function."""
    return _function(name, "python:default", code, {"memory": memory, **rest})


def nodejs(name: str, code: str, *, memory: int = 128, **rest: Any) -> Function:
    """Return a Node.js action; `rest` are limits, or fields of the function."""
    return _function(name, "nodejs:default", code, {"memory": memory, **rest})


def _function(name: str, kind: str, code: str, rest: dict[str, Any]) -> Function:
    limits = Limits(**{key: rest.pop(key) for key in Limits.__struct_fields__ if key in rest})
    return with_digest(Function(name=name, code=code, limits=limits, **{"path": "guest", "kind": kind, **rest}))
