"""What functions print, and where it ends up: the logs of their own activation (spec 9.11), in the record."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Running, annotations_of

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
PREFIX = 39
"""Columns before the text of a line: time, stream."""
MB = 1 << 20
PIECE = 64 << 10
"""Bytes of a line that is cut into several."""

TALKS = """
import sys

def main(args):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return {}
"""
TALKS_NODEJS = """
function main() {
  console.log("to stdout");
  console.error("to stderr");
  return {};
}
"""
UNICODE = """
import os

def main(args):
    print("héllo wörld \\u2713 \\U0001f600")
    os.write(1, b"not \\xff\\xfe text\\n")
    os.write(2, b"cut \\xe2\\x9c")
    return {}
"""
FORGES = f"""
def main(args):
    print("before")
    print({SENTINEL!r})
    print("after")
    return {{}}
"""
INIT_TALKS = "print('while it loads')\ndef main(args): print('while it runs'); return {}"
RETURNS = "def main(args): print('\\x1b[31mred\\r\\n[bold]{}%s'); return {}"
CHILD_TALKS = """
import subprocess

def main(args):
    print("first")
    subprocess.run(["echo", "from a child"])
    print("last")
    return {}
"""


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(
        python("talks-python", TALKS),
        nodejs("talks-nodejs", TALKS_NODEJS),
        python("silent", "def main(args): return {}"),
        python("unicode", UNICODE),
        python("forges", FORGES),
        python("init-talks", INIT_TALKS),
        python("control-characters", RETURNS),
        python("child-talks", CHILD_TALKS),
        python("unfinished", "import os\ndef main(args): os.write(1, b'no line end'); return {}"),
        python("endless-line", f"import os\ndef main(args): print('x' * {10 * MB}, end=''); return {{}}"),
        python("much", "def main(args):\n    for _ in range(20000): print('x' * 100)\n    return {}", logs=1),
        python("muted", TALKS, logs=0),
        python("dies-talking", "import os\ndef main(args): os.write(1, b'last words'); os._exit(1)"),
    )
    with home.running("pool.memory=8 GB") as running:
        yield running


async def invoked(program: Running, name: str) -> dict[str, Any]:
    """Invoke an action; return its record."""
    acknowledgement = await program.invoke(message(name))
    assert acknowledgement["response"]["logs"] == []
    return await program.home.record(acknowledgement["response"]["activationId"])


async def logged(program: Running, name: str) -> list[str]:
    """Invoke an action that succeeds; return its log lines without their times."""
    record = await invoked(program, name)
    assert record["response"]["statusCode"] == 0
    return [line[PREFIX - 8 :] for line in record["logs"]]


async def test_both_streams_are_taken(program: Running, language: str) -> None:
    lines = await logged(program, f"talks-{language}")

    assert sorted(lines) == ["stderr: to stderr", "stdout: to stdout"]


async def test_times_are_of_the_form_that_controllers_read(program: Running) -> None:
    record = await invoked(program, "talks-python")

    for line in record["logs"]:
        time, stream, _ = line.split(maxsplit=2)
        assert time.endswith("Z")
        assert line.startswith(f"{time:<30} {stream}")


async def test_a_function_that_prints_nothing_has_no_logs(program: Running) -> None:
    assert await logged(program, "silent") == []


async def test_what_is_no_unicode_is_replaced_and_nothing_else(program: Running) -> None:
    lines = await logged(program, "unicode")

    assert [line for line in lines if line.startswith("stdout")] == [
        "stdout: héllo wörld \u2713 \U0001f600",
        "stdout: not \ufffd\ufffd text",
    ]
    assert [line for line in lines if line.startswith("stderr")] == ["stderr: cut \ufffd"]


async def test_what_would_move_a_cursor_or_fill_in_a_pattern_is_kept_as_it_is(program: Running) -> None:
    assert await logged(program, "control-characters") == ["stdout: \x1b[31mred", "stdout: [bold]{}%s"]


async def test_what_is_printed_while_it_loads_belongs_to_the_first_activation(program: Running) -> None:
    first = await logged(program, "init-talks")
    second = await logged(program, "init-talks")

    assert first == ["stdout: while it loads", "stdout: while it runs"]
    assert second == ["stdout: while it runs"]


async def test_the_order_is_kept_beside_what_child_processes_print(program: Running) -> None:
    assert await logged(program, "child-talks") == ["stdout: first", "stdout: from a child", "stdout: last"]


async def test_a_line_without_its_end_is_a_line(program: Running) -> None:
    first = await logged(program, "unfinished")
    second = await logged(program, "unfinished")

    assert first == second == ["stdout: no line end"]


async def test_ten_megabytes_without_a_line_end_come_in_pieces_until_the_limit(program: Running) -> None:
    idle = await program.idle_containers()

    lines = await logged(program, "endless-line")

    pieces, last = lines[:-1], lines[-1]
    assert set(pieces) == {"stdout: " + "x" * PIECE}
    assert len(pieces) == 10 * MB // (PREFIX + PIECE)
    assert last == f"stderr: {truncation(10 * MB)}"
    assert await program.idle_containers() == idle + 1


async def test_logs_end_at_their_limit_and_the_container_is_kept(program: Running) -> None:
    first = await invoked(program, "much")
    second = await invoked(program, "much")

    for record in (first, second):
        assert len(record["logs"]) == MB // (PREFIX + 100) + 1
        assert record["logs"][-1].endswith(f" stderr: {truncation(MB)}")
        assert record["response"]["statusCode"] == 0
    assert "initTime" in annotations_of(first)
    assert "initTime" not in annotations_of(second)


async def test_a_limit_of_zero_takes_no_logs(program: Running) -> None:
    assert await logged(program, "muted") == []


async def test_a_forged_end_ends_the_logs_and_costs_the_container(program: Running) -> None:
    idle = await program.idle_containers()

    first = await invoked(program, "forges")
    left = await program.idle_containers()
    second = await invoked(program, "forges")

    for record in (first, second):
        assert [line[PREFIX - 8 :] for line in record["logs"]] == ["stdout: before"]
        assert record["response"] == {"statusCode": 0, "result": {}, "size": 2}
        assert "initTime" in annotations_of(record)
    assert left == idle


async def test_last_words_are_heard(program: Running) -> None:
    record = await invoked(program, "dies-talking")

    assert record["response"]["statusCode"] == 2
    assert [line[PREFIX - 8 :] for line in record["logs"]] == [
        "stdout: last words",
        "stderr: The action did not initialize or run as expected. Log data might be missing.",
        "stderr: The container exited with status 1.",
    ]


async def test_what_functions_print_is_not_in_the_log_of_the_invoker(program: Running) -> None:
    record = await invoked(program, "talks-python")

    line = program.log.of_activation(record["activationId"])
    assert line["logLines"] == 2
    assert "to stdout" not in program.log.text()


def truncation(limit: int) -> str:
    return f"Logs were truncated because the total bytes size exceeds the limit of {limit} bytes."
