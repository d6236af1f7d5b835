"""Functions that fail in every way we know of: what callers read (spec 9.6, 9.7, 11.1), what is recorded and left."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.meeting import NODEJS, PYTHON, meeting
from tests.end_to_end.messages import message
from tests.end_to_end.processes import gone
from tests.end_to_end.program import Home, Running, annotations_of

ABNORMAL_RUN = "The action did not produce a valid response and exited unexpectedly."
ABNORMAL_INIT = "The action did not initialize and exited unexpectedly."
MEMORY = "The action exhausted its memory and was aborted."
WARNING = "The action did not initialize or run as expected. Log data might be missing."
NO_RESULT = "The action did not return a dictionary or array."
LIMIT = 1 << 20


class Case(NamedTuple):
    """Code, and how its activation ends."""

    code: str
    status: int
    error: Any
    logged: str = ""
    """In one of the log lines."""


OVERSIZE = '{"text":"' + "x" * (LIMIT - 10) + '"'
TRUNCATED = (
    f"The action produced a response that exceeded the allowed length: {LIMIT + 1} > {LIMIT} bytes. "
    f"The truncated response was: {OVERSIZE}"
)

PYTHON_CASES = {
    "raises": Case(
        "def main(args):\n    raise ValueError('boom')",
        2,
        "An error has occurred (see logs for details): ValueError: boom",
        "ValueError: boom",
    ),
    "returns-an-error": Case("def main(args): return {'error': {'code': 7}, 'more': 1}", 1, {"code": 7}),
    "returns-a-null-error": Case("def main(args): return {'error': None}", 1, None),
    "exits-in-run": Case(
        "import os\ndef main(args): os._exit(3)", 2, ABNORMAL_RUN, "The container exited with status 3."
    ),
    "sys-exits-in-run": Case("import sys\ndef main(args): sys.exit(0)", 2, ABNORMAL_RUN),
    "exits-in-init": Case("import sys\nsys.exit(1)", 2, ABNORMAL_INIT, "The container exited with status 1."),
    "kills-itself": Case(
        "import os\ndef main(args): os.kill(os.getpid(), 9)",
        2,
        ABNORMAL_RUN,
        "The container was killed by signal SIGKILL.",
    ),
    "closes-the-connection": Case("import os\ndef main(args): os.closerange(3, 64); return {}", 2, ABNORMAL_RUN),
    "has-a-syntax-error": Case(
        "def main(args:\n    pass",
        2,
        "Initialization has failed due to: SyntaxError: '(' was never closed (__main__.py, line 1)",
        "SyntaxError",
    ),
    "fails-to-import": Case(
        "import no_such_module",
        2,
        "Initialization has failed due to: ModuleNotFoundError: No module named 'no_such_module'",
        "no_such_module",
    ),
    "cannot-import-the-invoker": Case(
        "import invoker", 2, "Initialization has failed due to: ModuleNotFoundError: No module named 'invoker'"
    ),
    "has-no-main": Case(
        "x = 1", 2, "Initialization has failed due to: TypeError: the code has no function 'main'", "TypeError"
    ),
    "returns-text": Case("def main(args): return 'text'", 2, NO_RESULT, "it returned str"),
    "returns-a-set": Case("def main(args): return {'a': {1}}", 2, NO_RESULT, "not JSON serializable"),
    "returns-nan": Case("def main(args): return {'a': float('nan')}", 2, NO_RESULT, "not JSON compliant"),
    "returns-too-much": Case(f"def main(args): return {{'text': 'x' * {LIMIT - 10}}}", 1, TRUNCATED),
    "initialises-for-ever": Case(
        "while True: pass", 2, "The action exceeded its time limits of 200 milliseconds during initialization."
    ),
}

NODEJS_CASES = {
    "throws": Case(
        "function main() { throw new Error('boom'); }",
        2,
        "An error has occurred (see logs for details): Error: boom",
        "Error: boom",
    ),
    "rejects": Case("const main = async () => { throw { code: 7 }; }", 1, {"code": 7}),
    "returns-an-error": Case("function main() { return { error: 'no', more: 1 }; }", 1, "no"),
    "exits-in-run": Case(
        "function main() { process.exit(3); }", 2, ABNORMAL_RUN, "The container exited with status 3."
    ),
    "exits-in-init": Case("process.exit(1);", 2, ABNORMAL_INIT),
    "has-a-syntax-error": Case(
        "function main() { return 1 2; }",
        2,
        "Initialization has failed due to: SyntaxError: Unexpected number",
        "SyntaxError",
    ),
    "fails-to-read": Case(
        "require('fs').readFileSync('/no/such/file');",
        2,
        "Initialization has failed due to: Error: ENOENT: no such file or directory, open '/no/such/file'",
        "ENOENT",
    ),
    "has-no-main": Case(
        "const x = 1;",
        2,
        "Initialization has failed due to: TypeError: Action entrypoint 'main' is not a function.",
        "TypeError",
    ),
    "returns-text": Case("function main() { return 'text'; }", 2, NO_RESULT),
    "returns-itself": Case("function main() { const a = {}; a.a = a; return a; }", 2, NO_RESULT, "circular"),
    "returns-too-much": Case(f"function main() {{ return {{ text: 'x'.repeat({LIMIT - 10}) }}; }}", 1, TRUNCATED),
    "throws-later": Case(
        "function main() { return new Promise(() => setTimeout(() => { throw new Error('late'); })); }",
        2,
        ABNORMAL_RUN,
        "late",
    ),
}

HANGS = f"""{PYTHON}
def main(args):
    visit(args["port"], daemon=daemon())
    while True:
        pass
"""
HANGS_NODEJS = f"""{NODEJS}
function main(args) {{
  visit(args.port, {{ daemon: daemon() }});
  return new Promise(() => {{}});
}}
"""
HOARDS = f"""{PYTHON}
def main(args):
    visit(args["port"], daemon=daemon())
    hoard = []
    while True:
        hoard.append(b"x" * (4 << 20))
"""
HOARDS_NODEJS = f"""{NODEJS}
function main(args) {{
  visit(args.port, {{ daemon: daemon() }});
  const hoard = [];
  return new Promise(() => setInterval(() => hoard.push(Buffer.alloc(4 << 20, 1))));
}}
"""
CHILD_HOARDS = """
import subprocess, sys

def main(args):
    code = subprocess.call([sys.executable, "-c", "hoard = [b'x' * (4 << 20) for _ in range(1000)]"])
    return {"code": code}
"""
TIMEOUT = 2000
"""Milliseconds: long enough for a cold start on a machine that has other things to do."""


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(
        python("fine", "def main(args): return {'fine': True}"),
        *(python(f"python-{name}", case.code, timeout=limit_of(name)) for name, case in PYTHON_CASES.items()),
        *(nodejs(f"nodejs-{name}", case.code) for name, case in NODEJS_CASES.items()),
        python("python-hangs", HANGS, timeout=TIMEOUT),
        nodejs("nodejs-hangs", HANGS_NODEJS, timeout=TIMEOUT),
        python("python-hoards", HOARDS),
        nodejs("nodejs-hoards", HOARDS_NODEJS),
        python("child-hoards", CHILD_HOARDS),
        python("full", f"def main(args): return {{'text': 'x' * {LIMIT - 11}}}"),
    )
    with home.running("pool.memory=8 GB") as running:
        yield running


def limit_of(name: str) -> int:
    return 200 if name == "initialises-for-ever" else 60_000


async def ends_as(program: Running, name: str, status: int, content: Any = None) -> dict[str, Any]:
    """Invoke an action that fails; check what does not depend on how, and return its record."""
    await works(program)
    idle = await program.idle_containers()

    acknowledgement = await program.invoke(message(name, content))

    told = acknowledgement["response"]
    assert told["response"]["statusCode"] == status, told["response"]
    assert acknowledgement["isSystemError"] is False
    record = await program.home.record(told["activationId"])
    assert record["response"] == told["response"]
    kept = 1 if status < 2 else 0
    assert await program.idle_containers() == idle + kept
    if status == 2:
        assert f" stderr: {WARNING}" in [line[30:] for line in record["logs"][-2:]]  # what is known of its end follows
    await works(program)
    return record


async def works(program: Running) -> None:
    assert (await program.invoke(message("fine")))["response"]["response"]["result"] == {"fine": True}


@pytest.mark.parametrize("name", PYTHON_CASES)
async def test_a_python_function_that_fails_is_told_and_recorded_as(program: Running, name: str) -> None:
    case = PYTHON_CASES[name]

    record = await ends_as(program, f"python-{name}", case.status)

    assert record["response"]["result"] == {"error": case.error}
    assert case.logged in "\n".join(record["logs"])


@pytest.mark.parametrize("name", NODEJS_CASES)
async def test_a_node_function_that_fails_is_told_and_recorded_as(program: Running, node: str, name: str) -> None:
    case = NODEJS_CASES[name]

    record = await ends_as(program, f"nodejs-{name}", case.status)

    assert record["response"]["result"] == {"error": case.error}
    assert case.logged in "\n".join(record["logs"])


async def test_a_function_that_hangs_is_told_so_and_nothing_of_it_is_left(program: Running, language: str) -> None:
    async with meeting() as place:
        record = await ends_as(program, f"{language}-hangs", 2, {"port": place.port})

        visitor = await place.visitor()
        assert record["response"]["result"] == {
            "error": f"The action exceeded its time limits of {TIMEOUT} milliseconds."
        }
        assert annotations_of(record)["timeout"] is True
        await gone(visitor.pids)


async def test_a_function_that_exhausts_its_memory_is_told_so_and_nothing_of_it_is_left(
    program: Running, language: str
) -> None:
    async with meeting() as place:
        record = await ends_as_exhausted(program, f"{language}-hoards", {"port": place.port})

        visitor = await place.visitor()
        assert annotations_of(record)["peakMemory"] > 64 << 20
        await gone(visitor.pids)


async def ends_as_exhausted(program: Running, name: str, content: Any = None) -> dict[str, Any]:
    acknowledgement = await program.invoke(message(name, content))
    record = await program.home.record(acknowledgement["response"]["activationId"])
    assert record["response"] == {"statusCode": 2, "result": {"error": MEMORY}}
    assert WARNING in record["logs"][-2]
    assert "The memory limit is 128 MB; the action was stopped" in record["logs"][-1]
    await works(program)
    return record


async def test_memory_is_that_of_all_processes_together(program: Running) -> None:
    await ends_as_exhausted(program, "child-hoards")


async def test_memory_is_watched_where_there_are_no_control_groups(own_home: Home) -> None:
    own_home.put(python("python-hoards", HOARDS), python("fine", "def main(args): return {'fine': True}"))

    with own_home.running("process.cgroup=off") as program:
        async with meeting() as place:
            await ends_as_exhausted(program, "python-hoards", {"port": place.port})

            visitor = await place.visitor()
            await gone(visitor.pids)


async def test_a_result_of_exactly_the_limit_is_a_success(program: Running) -> None:
    acknowledgement = await program.invoke(message("full"))

    response = acknowledgement["response"]["response"]
    assert response["statusCode"] == 0
    assert response["size"] == LIMIT
    assert response["result"] == {"text": "x" * (LIMIT - 11)}


async def test_the_size_of_a_result_that_was_cut_is_its_real_one(program: Running) -> None:
    acknowledgement = await program.invoke(message("python-returns-too-much"))

    assert acknowledgement["response"]["response"]["size"] == LIMIT + 1
