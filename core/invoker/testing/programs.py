"""Small functions that contract suites have containers run, and the bodies that bring them there."""

import enum
import json
from typing import Final

EXIT_CODE: Final = 3
TICK_SECONDS: Final = 0.001
"""At least so much time passes between two ticks."""

MEET: Final = """
let first;
function main() {
  return new Promise((resolve) => {
    if (first === undefined) return (first = resolve);
    first({ turn: 1 });
    first = undefined;
    resolve({ turn: 2 });
  });
}
"""
"""Node.js code of which no run ends before another has begun."""


class Program(enum.Enum):
    """What a container is to run. The value is its code in Python."""

    ECHO = "def main(args):\n    return args\n"
    SAY = "print('from init', flush=True)\ndef main(args):\n    print(args['text'], flush=True)\n    return {}\n"
    LONG = "def main(args):\n    return {'text': 'x' * args['length']}\n"
    HANG = "def main(args):\n    print('here', flush=True)\n    while True:\n        pass\n"
    EXIT = f"import os\ndef main(args):\n    os._exit({EXIT_CODE})\n"
    ENVIRON = "import os\ndef main(args):\n    return {name: os.environ.get(name) for name in args['names']}\n"
    FLOOD = "def main(args):\n    for _ in range(args['lines']):\n        print('x' * 99)\n    return args\n"
    TICK = (
        "import threading, time\nticks = 0\n"
        f"def tick():\n    global ticks\n    while True:\n        time.sleep({TICK_SECONDS})\n        ticks += 1\n"
        "threading.Thread(target=tick, daemon=True).start()\ndef main(args):\n    return {'ticks': ticks}\n"
    )
    GREEDY = "def main(args):\n    kept = []\n    while True:\n        kept.append(bytearray(1 << 20))\n"


def init_body(program: Program) -> bytes:
    """Return the body of an `/init` (spec 9.2)."""
    return code_body(program.value, program.name.lower())


def code_body(code: str, name: str = "action") -> bytes:
    """Return the body of an `/init` with plain code."""
    value = {"name": name, "main": "main", "binary": False, "code": code, "env": {}}
    return json.dumps({"value": value}).encode()


def run_body(**arguments: object) -> bytes:
    """Return the body of a `/run` (spec 9.3)."""
    return json.dumps({"value": arguments, "activation_id": "3f2a9c5d7e1b48068a4d2c6e90b1f735"}).encode()
