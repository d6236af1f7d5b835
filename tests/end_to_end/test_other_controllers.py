"""`compat = "functions"`: the Go variant's controller is spoken to in its own way (core/COMPATIBILITY.md)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Running, annotations_of

KB = 1024


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(
        python("echo", "def main(args): print('hello'); return args"),
        python("array", "def main(args): return [1]"),
        python("exits", "import os\ndef main(args): os._exit(1)"),
        python("talks", "def main(args):\n    for _ in range(100): print('x' * 100)\n    return {}", logs=1),
    )
    with home.running("compat=functions") as running:
        yield running


async def told(program: Running, name: str, *, revision: str | None = None) -> Any:
    return (await program.invoke(message(name, revision=revision)))["response"]


async def test_logs_are_in_the_acknowledgement(program: Running) -> None:
    record = await told(program, "echo")

    assert [line[31:] for line in record["logs"]] == ["stdout: hello"]


async def test_records_say_what_that_controller_wants_to_know(program: Running) -> None:
    annotations = annotations_of(await told(program, "echo"))

    assert annotations["entry"] == "main"
    assert annotations["limits"] == {"timeout": 60_000, "memory": 128, "logs": 10}
    assert annotations["gbs"] >= 0


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("array", 2, "The function did not produce a valid JSON response: [1]"),
        ("exits", 2, "The function did not produce a valid response and exited unexpectedly."),
        ("nobody", 1, "Function could not be found or may have been deleted."),
    ],
)
async def test_texts_are_those_of_the_go_variant(program: Running, name: str, status: int, text: str) -> None:
    response = (await told(program, name))["response"]

    assert response["statusCode"] == status
    assert response["result"] == {"error": text}
    assert response["size"] > 0


async def test_logs_are_counted_in_kilobytes(program: Running) -> None:
    logs = (await told(program, "talks"))["logs"]

    assert len(logs) == KB // 139 + 1
    assert logs[-1].endswith("Logs were truncated because the total bytes size exceeds the limit of 1024 bytes.")


async def test_a_revision_that_is_not_the_stored_one_is_not_found(program: Running) -> None:
    newest = await told(program, "echo")
    other = await told(program, "echo", revision="1-00000000000000000000000000000000")

    assert newest["response"]["statusCode"] == 0
    assert other["response"]["result"] == {"error": "Function could not be found or may have been deleted."}


async def test_only_what_nobody_waits_for_is_recorded(program: Running) -> None:
    waited_for = await told(program, "echo")
    sent = message("echo", {"a": 1}, blocking=False, revision=None)

    await program.invoke(sent)

    activation_id = json.loads(sent)["activationId"]
    record = await program.home.record(activation_id)
    assert record["response"]["result"] == {"a": 1}
    assert waited_for["activationId"] not in await program.home.recorded()
