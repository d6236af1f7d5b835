"""What functions write is untrusted: a terminal is shielded from it, a pipe gets it as it is."""

import json
import os
import pty
import subprocess

import pytest

from tests.end_to_end.functions import python
from tests.end_to_end.program import PATIENCE, Home

TITLE = "\x1b]0;owned\x07"
RED = "\x1b[31mred\x1b[0m"
C1 = "\x9b2J\x7f"
TEXT = f"{TITLE}{RED}{C1}\rover\tthere"
ESCAPED = r"\u001b]0;owned\u0007\u001b[31mred\u001b[0m\u009b2J\u007f\u000dover" + "\tthere"
CODE = f"""
def main(args):
    print({TEXT!r})
    return {{"error": {C1!r}}}
"""


def on_a_terminal(home: Home, *arguments: str) -> str:
    """Run a command with both of its streams on a terminal; return what that shows."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            home.command(*arguments),
            cwd=home.folder,
            env={**home.environment, "TERM": "dumb", "COLUMNS": "500"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = read_all(ours)
            process.wait(PATIENCE)
    finally:
        os.close(ours)
    return shown.decode()


def read_all(terminal: int) -> bytes:
    """Read until nobody has the other end any more, of which Linux says EIO."""
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:
        pass
    return b"".join(parts)


@pytest.fixture
def activation(own_home: Home) -> str:
    """The id of an activation whose output is hostile."""
    own_home.put(python("hostile", CODE))
    activation_id: str = own_home.call("invoke", "hostile", "--json").json["activationId"]
    return activation_id


def test_a_terminal_is_shielded_from_logs(own_home: Home, activation: str) -> None:
    shown = on_a_terminal(own_home, "activation", "logs", activation)

    assert ESCAPED in shown
    assert not set("\x1b\x07\x9b\x7f") & set(shown)


def test_a_pipe_gets_logs_as_they_are(own_home: Home, activation: str) -> None:
    called = own_home.call("activation", "logs", activation)

    assert called.output.endswith(f"stdout: {TEXT}\n")


@pytest.mark.parametrize("command", [["get"], ["get", "--json"], ["logs", "--json"]])
def test_json_on_a_terminal_is_still_the_same_json(own_home: Home, activation: str, command: list[str]) -> None:
    verb, *options = command
    piped = own_home.call("activation", verb, activation, *options)
    shown = on_a_terminal(own_home, "activation", verb, activation, *options)

    assert json.loads(shown) == json.loads(piped.output)
    assert not set("\x1b\x07\x9b\x7f") & set(shown)


def test_a_terminal_is_shielded_from_what_an_invocation_shows(own_home: Home) -> None:
    own_home.put(python("hostile", CODE))

    shown = on_a_terminal(own_home, "invoke", "hostile")

    assert ESCAPED.partition("\t")[0] in shown
    assert r'"error": "\u009b2J\u007f"' in shown
    assert not set("\x1b\x07\x9b\x7f") & set(shown)


def test_code_is_shown_likewise(own_home: Home) -> None:
    own_home.put(python("coloured", f"# {RED}\ndef main(args): return {{}}\n"))

    shown = on_a_terminal(own_home, "action", "get", "coloured", "--code")
    piped = own_home.call("action", "get", "coloured", "--code")

    assert shown.startswith(r"# \u001b[31mred\u001b[0m")
    assert piped.output == f"# {RED}\ndef main(args): return {{}}\n"
