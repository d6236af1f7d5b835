"""Actions in containers, as their callers see them: results, failures, logs, records."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.docker.place import DockerHome, invoke
from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.program import Running, annotations_of
from tests.plugins.runtime_process.proxies.proxy import packed

ABNORMAL_RUN = "The action did not produce a valid response and exited unexpectedly."
ABNORMAL_INIT = "The action did not initialize and exited unexpectedly."
BOOM = "An error has occurred (see logs for details): ValueError: boom"
NOT_INITIALISED = "Initialization has failed due to: "
NO_MODULE = f"{NOT_INITIALISED}ModuleNotFoundError: No module named 'no_such_module'"
NO_MODULE_NODEJS = f"{NOT_INITIALISED}Error: Cannot find module 'no-such-module'\nRequire stack:\n- /tmp/index.js"
LATE = "The action exceeded its time limits of 300 milliseconds."
WARNING = "stderr: The action did not initialize or run as expected. Log data might be missing."

GREETS = """
import os, sys
print("initialised as", os.environ["__OW_ACTION_NAME"])
def main(args):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"h\\xc3\\xa9llo \\xff " + b"x" * 70000)
    return {"hello": args.get("name"), "pid": os.getpid(), "user": os.getuid(), "folder": os.getcwd()}
"""
GREETS_NODEJS = """
console.log("initialised as", process.env.__OW_ACTION_NAME);
function main(args) {
  console.log("to stdout");
  console.error("to stderr");
  process.stdout.write("héllo " + "x".repeat(70000));
  return { hello: args.name, pid: process.pid, user: process.getuid(), folder: process.cwd() };
}
"""
ASKS_FOR_A_NAME = """
import socket
def main(args):
    if "address" in args:
        return {"name": socket.gethostbyaddr(args["address"])[0]}
    return {"address": socket.gethostbyname(socket.gethostname())}
"""
PROJECT = {
    "__main__.py": "import lib, pathlib\ndef main(args): return {'got': [lib.A, pathlib.Path('a.txt').read_text()]}",
    "lib.py": "A = 1",
    "a.txt": "text",
}
PROJECT_NODEJS = {
    "package.json": '{"main": "app.js"}',
    "app.js": "exports.main = () => ({ got: [require('./lib').A, require('fs').readFileSync('a.txt', 'utf8')] });",
    "lib.js": "exports.A = 1;",
    "a.txt": "text",
}


@pytest.fixture(scope="module")
def program(home: DockerHome) -> Iterator[Running]:
    home.put(
        python("greets-python", GREETS),
        nodejs("greets-nodejs", GREETS_NODEJS),
        python("packed-python", packed(PROJECT), binary=True),
        nodejs("packed-nodejs", packed(PROJECT_NODEJS), binary=True),
        python("raises", "def main(args): raise ValueError('boom')"),
        python("says-no", "def main(args): print('no'); return {'error': {'code': 7}}"),
        python("fails-to-import", "print('begins')\nimport no_such_module"),
        nodejs("fails-to-load", "console.log('begins'); require('no-such-module');"),
        python("asks-for-a-name", ASKS_FOR_A_NAME),
        python("exits-in-init", "import sys\nprint('leaves', flush=True)\nsys.exit(1)"),
        python("exits-in-run", "import os\ndef main(args): print('leaves', flush=True); os._exit(0)"),
        python("hangs", "def main(args):\n print('begins')\n while True: pass", timeout=300),
        python("hangs-in-init", "print('begins', flush=True)\nwhile True: pass", timeout=300),
        python("takes-its-time", "import time\ndef main(args): time.sleep(3600)", timeout=300),
        python("sees-itself", "import os\ndef main(args): return dict(os.environ)"),
    )
    with home.running("node.api_host=https://example.org") as running:
        yield running


@pytest.mark.parametrize("language", ["python", "nodejs"])
async def test_a_cold_start_and_a_warm_one(program: Running, language: str) -> None:
    cold = await invoke(program, f"greets-{language}", {"name": "Zoë"})
    warm = await invoke(program, f"greets-{language}", {"name": "you"})

    folder = {"user": 10001, "folder": "/tmp"}
    assert cold.result == {"hello": "Zoë", "pid": cold.result["pid"]} | folder
    assert warm.result == {"hello": "you", "pid": cold.result["pid"]} | folder
    assert (cold.line["containerType"], cold.line["coldStart"]) == ("cold", "new")
    assert (warm.line["containerType"], warm.line["cid"]) == ("warm", cold.line["cid"])
    assert annotations_of(cold.record)["initTime"] > 0
    assert "initTime" not in annotations_of(warm.record)
    assert annotations_of(cold.record)["kind"] == ("python:3" if language == "python" else "nodejs:18")


@pytest.mark.parametrize("language", ["python", "nodejs"])
async def test_what_it_prints_is_in_the_record_line_by_line(program: Running, language: str) -> None:
    ends = [await invoke(program, f"greets-{language}", namespace="logs") for _ in range(2)]

    hello = "héllo \ufffd " if language == "python" else "héllo "
    first = (1 << 16) - len(hello.encode("utf-8").replace(b"\xef\xbf\xbd", b"\xff"))
    long = [f"stdout: {hello}{'x' * first}", f"stdout: {'x' * (70000 - first)}"]
    wanted = ["stdout: to stdout", *long], ["stderr: to stderr"]
    for end, before in zip(ends, ([f"stdout: initialised as /guest/greets-{language}"], []), strict=True):
        streams = [[line for line in end.logs if line.startswith(name)] for name in ("stdout", "stderr")]
        assert streams == [before + wanted[0], wanted[1]]


@pytest.mark.parametrize("language", ["python", "nodejs"])
async def test_an_archive_is_unpacked_and_run(program: Running, language: str) -> None:
    ended = await invoke(program, f"packed-{language}")

    assert (ended.status, ended.result, ended.logs) == (0, {"got": [1, "text"]}, [])


@pytest.mark.parametrize(
    ("name", "status", "error", "line"),
    [
        ("raises", 2, BOOM, "stderr: Traceback (most recent call last):"),
        ("says-no", 1, {"code": 7}, "stdout: no"),
        ("fails-to-import", 2, NO_MODULE, "stdout: begins"),
        ("exits-in-init", 2, ABNORMAL_INIT, "stdout: leaves"),
        ("exits-in-run", 2, ABNORMAL_RUN, "stdout: leaves"),
        ("fails-to-load", 2, NO_MODULE_NODEJS, "stdout: begins"),
        ("hangs", 2, LATE, "stdout: begins"),
        ("takes-its-time", 2, LATE, WARNING),
        ("hangs-in-init", 2, f"{LATE[:-1]} during initialization.", "stdout: begins"),
    ],
)
async def test_a_failure_is_answered_recorded_and_explained(
    program: Running, name: str, status: int, error: Any, line: str
) -> None:
    ended = await invoke(program, name)

    assert (ended.status, ended.result) == (status, {"error": error})
    assert line in ended.logs
    assert (WARNING in ended.logs) == (status == 2)
    told = [text for text in ended.logs if text.startswith("stderr: The container ")]
    assert told == (
        [f"stderr: The container exited with status {'1' if name == 'exits-in-init' else '0'}."]
        if name.startswith("exits")
        else []
    )


async def test_nobody_learns_from_names_whom_other_containers_are_for(program: Running, home: DockerHome) -> None:
    mine = await invoke(program, "asks-for-a-name", namespace="teller")
    theirs = await invoke(program, "asks-for-a-name", mine.result, namespace="asker")

    assert theirs.result["name"].partition(".")[0] == mine.line["cid"]
    assert re.fullmatch(rf"wsk{home.unique_name}0_[0-9a-f]{{8}}_\d+", mine.line["cid"])


async def test_it_sees_what_an_action_is_told_and_nothing_of_the_invokers(program: Running) -> None:
    ended = await invoke(program, "sees-itself", namespace="teller")

    told = {name: text for name, text in ended.result.items() if name.startswith("__OW_")}
    assert told.pop("__OW_DEADLINE").isdigit()
    assert told.pop("__OW_TRANSACTION_ID")
    assert told.pop("__OW_API_KEY").count(":") == 1
    assert told == {
        "__OW_API_HOST": "https://example.org",
        "__OW_NAMESPACE": "teller",
        "__OW_ACTION_NAME": "/guest/sees-itself",
        "__OW_ACTION_VERSION": "0.0.1",
        "__OW_ACTIVATION_ID": ended.record["activationId"],
    }
    assert ended.result.keys() - told.keys() >= {"HOME", "PATH", "LANG", "HOSTNAME"}
    assert not [name for name in ended.result if name.startswith("INVOKER")]
