"""Actions as the tests put them into the store."""

from typing import Any

from invoker.entities.function import Function, Limits
from invoker.wire.function import with_digest
from tests.end_to_end.meeting import NODEJS, PYTHON


def python(name: str, code: str, *, memory: int = 128, **rest: Any) -> Function:
    """Return a Python action; `rest` are limits, or fields of the function."""
    return _function(name, "python:default", code, {"memory": memory, **rest})


def nodejs(name: str, code: str, *, memory: int = 128, **rest: Any) -> Function:
    """Return a Node.js action; `rest` are limits, or fields of the function."""
    return _function(name, "nodejs:default", code, {"memory": memory, **rest})


def _function(name: str, kind: str, code: str, rest: dict[str, Any]) -> Function:
    limits = Limits(**{key: rest.pop(key) for key in Limits.__struct_fields__ if key in rest})
    return with_digest(Function(name=name, code=code, limits=limits, **{"path": "guest", "kind": kind, **rest}))


_WAITS = f"""{PYTHON}
def main(args):
    print("it begins")
    visit(args["port"], daemon=daemon()).recv(1)
    return {{"waited": True}}
"""
_WAITS_NODEJS = f"""{NODEJS}
async function main(args) {{
  await visit(args.port, {{ daemon: daemon() }});
  return {{ waited: true }};
}}
"""
_IGNORES = f"""{PYTHON}
import signal

def main(args):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    visit(args["port"], daemon=daemon())
    while True:
        pass
"""

VISITORS = (
    python("waits", _WAITS),
    nodejs("waits-nodejs", _WAITS_NODEJS),
    python("ignores", _IGNORES),
    python("fine", "def main(args): return {'fine': True}"),
)
"""Actions that come to the meeting at `port`, each with a daemon; one of them ignores signals. And a quick one."""
