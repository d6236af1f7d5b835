"""`invoker invoke`: a function from a file, a folder, an archive or the store, tried here and now."""

import asyncio
import json
import os
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.distributions import distribution, search_path
from tests.end_to_end.functions import python
from tests.end_to_end.meeting import PYTHON, meeting
from tests.end_to_end.processes import descendants, held, of_actions, wait_for
from tests.end_to_end.program import Called, Home

HELLO = """
import sys

def main(args):
    print("saying hello")
    print("and a warning", file=sys.stderr)
    return {"greeting": f"Hello {args.get('name', 'stranger')}"}
"""
ECHO = "def main(args): return {'args': args}"
ENVIRONMENT = "import os\ndef main(args): return {'env': os.environ.get('GREETING'), 'args': args}"
PARTS = {
    "__main__.py": """
from greeting import words

def main(args):
    return {"words": words(), "data": open("data.txt").read()}
""",
    "greeting/__init__.py": "def words(): return 'from a dependency'",
    "data.txt": "from a file",
}
NODEJS_PARTS = {
    "package.json": '{"main": "lib/start.js"}',
    "lib/start.js": "exports.main = () => ({ words: require('greeting')() });",
    "node_modules/greeting/index.js": "module.exports = () => 'from a dependency';",
}
WAITS = f"""{PYTHON}
def main(args):
    visit(args["port"], daemon=daemon()).recv(1)
    return {{}}
"""


def written(home: Home, name: str, text: str) -> Path:
    file = home.folder / name
    file.write_text(text)
    return file


def folder(home: Home, parts: dict[str, str]) -> Path:
    top = home.folder / "function"
    for name, text in parts.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


def packed(home: Home, parts: dict[str, str]) -> Path:
    file = home.folder / "function.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file


def no_traceback(called: Called) -> None:
    assert "Traceback" not in called.errors
    assert "Traceback" not in called.output


def test_a_file_is_run_and_its_result_printed(own_home: Home) -> None:
    called = own_home.call("invoke", written(own_home, "hello.py", HELLO), "--param", "name=Ada")

    assert called.code == 0, called
    assert called.json == {"greeting": "Hello Ada"}
    assert "stdout: saying hello" in called.errors
    assert "stderr: and a warning" in called.errors
    assert "success" in called.errors
    assert of_actions(own_home.work) == []
    assert list(own_home.work.iterdir()) == []


def test_a_file_may_have_any_name(own_home: Home) -> None:
    called = own_home.call("invoke", written(own_home, "a+b.py", HELLO))

    assert called.json == {"greeting": "Hello stranger"}


def test_a_node_file_is_run_too(own_home: Home, node: str) -> None:
    source = written(own_home, "hello.js", "const main = async ({ name }) => ({ greeting: `Hello ${name}` });")

    called = own_home.call("invoke", source, "--param", "name=Ada", "--json")

    assert called.json["result"] == {"greeting": "Hello Ada"}


def test_json_is_for_programs(own_home: Home) -> None:
    called = own_home.call("invoke", written(own_home, "hello.py", HELLO), "--json")

    facts = called.json
    assert facts["status"] == "success"
    assert facts["result"] == {"greeting": "Hello stranger"}
    assert sorted(line[31:] for line in facts["logs"]) == ["stderr: and a warning", "stdout: saying hello"]
    assert facts["start"] == "cold"
    assert facts["duration"] >= facts["initTime"]


@pytest.mark.parametrize("how", [folder, packed])
def test_a_folder_or_archive_brings_what_it_needs(own_home: Home, how: Callable[[Home, dict[str, str]], Path]) -> None:
    called = own_home.call("invoke", how(own_home, PARTS))

    assert called.code == 0, called
    assert called.json == {"words": "from a dependency", "data": "from a file"}


@pytest.mark.parametrize("how", [folder, packed])
def test_a_node_folder_or_archive_does_as_well(
    own_home: Home, node: str, how: Callable[[Home, dict[str, str]], Path]
) -> None:
    called = own_home.call("invoke", how(own_home, NODEJS_PARTS))

    assert called.code == 0, called
    assert called.json == {"words": "from a dependency"}


def test_an_action_of_the_store_is_run_by_name_and_recorded(own_home: Home) -> None:
    own_home.put(python("hello", HELLO), python("inner", ECHO, path="guest/pack"))

    called = own_home.call("invoke", "hello", "--json")
    packaged = own_home.call("invoke", "pack/inner", "--json")
    qualified = own_home.call("invoke", "/guest/pack/inner", "--json")

    assert called.json["result"] == {"greeting": "Hello stranger"}
    assert packaged.json["result"] == qualified.json["result"] == {"args": {}}
    record = asyncio.run(own_home.record(called.json["activationId"]))
    assert record["response"]["result"] == {"greeting": "Hello stranger"}


@pytest.mark.parametrize(
    ("code", "status", "source"),
    [
        (0, "success", "def main(args): return {}"),
        (10, "application error", "def main(args): return {'error': 'no'}"),
        (11, "action developer error", "def main(args): raise ValueError('boom')"),
    ],
)
def test_the_exit_code_says_how_it_ended(own_home: Home, code: int, status: str, source: str) -> None:
    called = own_home.call("invoke", written(own_home, "function.py", source))

    assert called.code == code, called
    assert status.removeprefix("action ") in called.errors
    assert ("Traceback" in called.errors) is (code == 11)  # its own, in its log


def test_a_system_error_has_an_exit_code_of_its_own_and_says_what_would_run(own_home: Home) -> None:
    called = own_home.call("invoke", written(own_home, "hello.py", HELLO), "--kind", "cobol:74")

    assert called.code == 12, called
    assert called.json == {"error": "Action version is not compatible and cannot be invoked."}
    assert "nothing here runs kind 'cobol:74'; kinds: " in called.errors
    assert "never started" in called.errors
    no_traceback(called)


def test_an_action_that_is_not_there_never_started(own_home: Home) -> None:
    called = own_home.call("invoke", "nobody", "--json")

    assert called.code == 10
    assert called.json["result"] == {"error": "Action could not be found or may have been deleted."}
    assert called.json["start"] == "none"


def test_parameters_are_json_where_they_can_be_read_as_such(own_home: Home) -> None:
    given = {
        "7": 7,
        "1e3": 1000,
        "true": True,
        "null": None,
        '{"a": [1]}': {"a": [1]},
        '"7"': "7",
        "text": "text",
        "a=b": "a=b",
        "": "",
        "{broken": "{broken",
        "héllo": "héllo",
        "007": "007",
    }
    words = [word for number, text in enumerate(given) for word in ("--param", f"p{number}={text}")]

    called = own_home.call("invoke", written(own_home, "echo.py", ECHO), *words)

    assert called.json == {"args": {f"p{number}": value for number, value in enumerate(given.values())}}


def test_parameters_of_the_command_line_beat_those_of_a_file(own_home: Home) -> None:
    file = written(own_home, "parameters.json", json.dumps({"a": 1, "b": {"c": "d"}}))
    source = written(own_home, "echo.py", ECHO)

    called = own_home.call("invoke", source, "--param-file", file, "--param", "a=2", "--param", "e=3")

    assert called.json == {"args": {"a": 2, "b": {"c": "d"}, "e": 3}}


def test_variables_are_in_the_environment_and_not_among_the_parameters(own_home: Home) -> None:
    source = written(own_home, "environment.py", ENVIRONMENT)

    called = own_home.call("invoke", source, "--env", "GREETING=hello", "--param", "a=1")

    assert called.json == {"env": "hello", "args": {"a": 1}}


def test_repeated_it_is_warm(own_home: Home) -> None:
    called = own_home.call("invoke", written(own_home, "hello.py", HELLO), "--repeat", "3", "--json")

    assert [json.loads(line)["start"] for line in called.output.splitlines()] == ["cold", "warm", "warm"]


NOTES = """
import os
from contextlib import asynccontextmanager

from invoker import hookimpl
from invoker.contracts import ContainerRuntime
from invoker.entities.runtimes import Runtimes
from invoker.errors import StartFailed


class Notes(ContainerRuntime):
    def runtimes(self):
        return Runtimes([])

    async def create(self, spec, output):
        with open(os.environ["NOTES"], "a") as file:
            file.write(f"for {spec.action}\\n")
        raise StartFailed("this is only for looking on")


@hookimpl
@asynccontextmanager
async def open_container_runtime(settings):
    yield Notes()
"""


def test_no_container_is_started_but_its_own(own_home: Home, tmp_path: Path) -> None:
    cells = [{"initialCount": 3, "memory": "128 MB"}]
    kind = {"kind": "python:3", "image": {"name": "python"}, "stemCells": cells}
    manifest = written(own_home, "kinds.json", json.dumps({"runtimes": {"python": [kind]}}))
    place = distribution(tmp_path / "plugins", "notes", "notes = notes", notes=NOTES)
    settings = ["--set", "runtime=notes", "--set", f"runtimes.manifest={manifest}"]
    source = written(own_home, "hello.py", HELLO)

    called = own_home.call(
        *settings, "invoke", source, PYTHONPATH=search_path(own_home, place), NOTES=str(tmp_path / "notes")
    )

    assert called.code == 12, called
    assert (tmp_path / "notes").read_text() == "for guest/hello\n"


def test_limits_can_be_tried(own_home: Home) -> None:
    source = written(own_home, "slow.py", "def main(args):\n    while True: pass")

    called = own_home.call("invoke", source, "--timeout", "2000", "--json")

    assert called.code == 11
    assert called.json["result"] == {"error": "The action exceeded its time limits of 2000 milliseconds."}


def test_another_entry_point_can_be_named(own_home: Home) -> None:
    called = own_home.call("invoke", written(own_home, "f.py", "def other(args): return {'ok': 1}"), "--main", "other")

    assert called.json == {"ok": 1}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothere.py"], "there is no file nothere.py"),
        (["./nothere"], "there is no file ./nothere"),
        (["a/b/c/d"], "'a/b/c/d' is no action name: use NAME, PACKAGE/NAME or /NAMESPACE/PACKAGE/NAME"),
        (["hello.py", "--param", "name"], "'name' is not of the form KEY=VALUE"),
        (["hello.py", "--param-file", "nothere.json"], "can't read nothere.json: No such file or directory"),
        (["hello.py", "--param-file", "hello.py"], "hello.py must hold a JSON object"),
        (["hello.py", "--timeout", "soon"], "'soon' is not a valid integer"),
        (["unknown.txt"], "can't tell the kind of unknown.txt: say it, such as --kind python:default"),
        (["binary.py"], "binary.py is neither UTF-8 text nor a zip archive"),
    ],
)
def test_a_mistake_is_named(home: Home, arguments: list[str], complaint: str) -> None:
    written(home, "hello.py", HELLO)
    written(home, "unknown.txt", "text")
    (home.folder / "binary.py").write_bytes(b"\xff\xfe\x00")

    called = home.call("invoke", *arguments)

    assert called.code == 2, called
    assert complaint in called.errors
    assert called.output == ""
    no_traceback(called)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
async def test_interrupted_it_leaves_nothing_behind(own_home: Home, number: signal.Signals, code: int) -> None:
    source = written(own_home, "waits.py", WAITS)

    async with meeting() as place:
        with own_home.start("invoke", str(source), "--param", f"port={place.port}") as process:
            visitor = await place.visitor()
            with held([*descendants(process.pid), *visitor.pids]) as processes:
                os.killpg(process.pid, number)

                output, errors = await asyncio.to_thread(process.communicate)
                await asyncio.to_thread(wait_for, processes)

    assert process.returncode == code, errors
    assert output == b""
    assert b"Traceback" not in errors
    assert of_actions(own_home.work) == []


def test_what_memory_it_took_is_told(home: Home) -> None:
    file = written(home, "large.py", "kept = bytearray(40 << 20)\ndef main(args): return {}")

    told = home.call("invoke", file, "--json").json
    shown = home.call("invoke", file).errors

    assert 40 << 20 <= told["peakMemory"] < 100 << 20
    assert "MB, limit 256 MB" in shown
