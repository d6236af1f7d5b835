"""Small functions that contract suites have containers run, and the bodies that bring them there."""

import enum
import json
from typing import Final

EXIT_CODE: Final = 3


class Program(enum.Enum):
    """What a container is to run. The value is its code in Python."""

    ECHO = "def main(args):\n    return args\n"
    SAY = "print('from init', flush=True)\ndef main(args):\n    print(args['text'], flush=True)\n    return {}\n"
    LONG = "def main(args):\n    return {'text': 'x' * args['length']}\n"
    HANG = "def main(args):\n    print('here', flush=True)\n    while True:\n        pass\n"
    EXIT = f"import os\ndef main(args):\n    os._exit({EXIT_CODE})\n"
    GREEDY = "def main(args):\n    kept = []\n    while True:\n        kept.append(bytearray(1 << 20))\n"


def init_body(program: Program) -> bytes:
    """Return the body of an `/init` (spec 9.2)."""
    value = {"name": program.name.lower(), "main": "main", "binary": False, "code": program.value, "env": {}}
    return json.dumps({"value": value}).encode()


def run_body(**arguments: object) -> bytes:
    """Return the body of a `/run` (spec 9.3)."""
    return json.dumps({"value": arguments, "activation_id": "3f2a9c5d7e1b48068a4d2c6e90b1f735"}).encode()
