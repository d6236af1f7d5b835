"""`invoker check`: each part is opened; what it warns of and what it can't do is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.distributions import distribution, search_path
from tests.end_to_end.functions import python
from tests.end_to_end.program import Called, Home

LOCKED = """
import os
from contextlib import asynccontextmanager

from invoker import hookimpl
from invoker.errors import Occupied


@hookimpl
@asynccontextmanager
async def open_container_runtime(settings):
    holder = int(os.environ["LOCKED_BY"])
    raise Occupied(f"node.id: another invoker has locked it (process {holder}): stop it", holder=holder)
    yield
"""
HANGS = """
import logging
from contextlib import asynccontextmanager

from invoker import hookimpl
from invoker.contracts import ContainerRuntime
from invoker.entities.runtimes import Runtimes


class Hangs(ContainerRuntime):
    def runtimes(self):
        return Runtimes([])

    async def create(self, spec, output):
        raise NotImplementedError

    def faults(self):
        return ["the daemon does not answer", "the disk is full"]


@hookimpl
@asynccontextmanager
async def open_container_runtime(settings):
    logging.getLogger("stranger").warning("the network is %s", "open")
    logging.getLogger("stranger").info("nobody needs to know")
    yield Hangs()
    logging.getLogger("stranger").warning("the network is %s", "open")
"""


def check(home: Home, folder: Path, *arguments: str) -> Called:
    """Run the command with a runtime that warns of something, and whose daemon hangs."""
    place = distribution(folder / "plugins", "hangs", "hangs = hangs", hangs=HANGS)
    return home.call("--set", "runtime=hangs", "check", *arguments, PYTHONPATH=search_path(home, place))


def test_what_a_part_warns_of_is_shown_below_it_and_is_no_failure(home: Home) -> None:
    called = home.call("check")

    lines = called.output.splitlines()
    (number,) = (number for number, line in enumerate(lines) if line.split()[1:3] == ["runtime", "process"])
    assert called.code == 0
    assert lines[number].startswith("ok ")
    assert lines[number + 1].strip() == (
        "warning: actions run as child processes, and nothing keeps a hostile one from this user's files"
    )
    assert called.errors == ""


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize("used", [False, True])
def test_nothing_is_changed_by_a_look(own_home: Home, *, used: bool) -> None:
    if used:
        own_home.put(python("hello", "def main(args): return {}"))
        own_home.call("invoke", "hello")
    before = contents(own_home.folder)

    called = own_home.call("check")

    assert called.code == 0, called
    assert contents(own_home.folder) == before


def test_a_place_for_which_there_is_none_is_named_without_being_made(own_home: Home) -> None:
    called = own_home.call("--set", "sqlite.path=/dev/null/deep/file", "check", "--json")

    assert "/dev/null/deep/file: it can't be opened: see who owns it" in found(called, "functions")["text"]


def test_a_runtime_that_is_there_and_can_start_nothing_fails(own_home: Home, tmp_path: Path) -> None:
    called = check(own_home, tmp_path, "--json")

    findings = {one["part"]: one for one in called.json}
    assert called.code == 1
    assert findings["runtime"] == {
        "part": "runtime",
        "plugin": "hangs",
        "ok": False,
        "text": "the daemon does not answer; the disk is full",
        "warnings": ["the network is open"],
    }
    assert findings["functions"]["ok"]
    assert findings["functions"]["warnings"] == []


def found(called: Called, part: str) -> dict[str, Any]:
    """Return what is said of one part."""
    finding: dict[str, Any]
    (finding,) = (one for one in called.json if one["part"] == part)
    return finding


def manifest(home: Home, *versions: dict[str, Any], **more: Any) -> str:
    """Write a manifest; return the setting that names it."""
    file = home.folder / "kinds.json"
    file.write_text(json.dumps({"runtimes": {"python": versions}, **more}))
    return f"runtimes.manifest={file}"


def test_the_kinds_are_those_of_the_manifest(own_home: Home) -> None:
    kinds = [{"kind": kind, "image": {"name": "python"}, "default": kind == "python:3"} for kind in ("python:3", "p:2")]

    called = own_home.call("--set", manifest(own_home, *kinds), "check", "--json")

    assert found(called, "runtime")["text"] == "runs p:2, python:3"


def test_a_manifest_may_list_images_alone(own_home: Home) -> None:
    called = own_home.call("--set", manifest(own_home, blackboxes=[{"name": "mine"}]), "check", "--json")

    assert found(called, "runtime")["text"] == "runs the images of runtimes.manifest, and no kind"


def test_a_manifest_with_which_nothing_could_run_is_named(own_home: Home) -> None:
    setting = manifest(own_home)

    called = own_home.call("--set", setting, "check")

    assert called.code == 2
    assert f"runtimes.manifest: {own_home.folder}/kinds.json: lists neither a kind nor an image" in called.errors


@pytest.mark.parametrize("command", [["check", "--json"], ["config", "validate", "--json"], ["config", "validate"]])
def test_a_key_of_the_manifest_that_nothing_asks_for_is_warned_of(own_home: Home, command: list[str]) -> None:
    setting = manifest(own_home, {"kind": "python:3", "image": {"name": "python"}, "stemCels": []})
    warning = (
        f'runtimes.manifest: {own_home.folder}/kinds.json: "stemCels" in runtimes.python[0] '
        "is no key of a manifest and has no effect; did you mean stemCells?"
    )

    called = own_home.call("--set", setting, *command)

    assert called.code == 0, called
    if command[0] == "check":
        assert warning in found(called, "runtime")["warnings"]
        assert called.errors == ""
    elif "--json" in command:
        assert called.json["warnings"] == [warning]
    else:
        assert called.errors == f"warning: {warning}\n"


def test_what_this_very_invoker_has_as_it_runs_is_no_failure(own_home: Home, tmp_path: Path) -> None:
    place = distribution(tmp_path / "plugins", "locked", "locked = locked", locked=LOCKED)
    path = search_path(own_home, place)
    with own_home.running() as program:
        pid = program.process.pid
        taken = [f"http.admin=127.0.0.1:{program.operators.port}", f"http.bind=127.0.0.1:{program.data.port}"]
        settings = [word for one in (*taken, "runtime=locked") for word in ("--set", one)]

        called = own_home.call(*settings, "check", "--json", PYTHONPATH=path, LOCKED_BY=str(pid))
        elsewhere = own_home.call("--set", taken[1], "check", "--json")
        strangers = own_home.call(*settings, "check", "--json", PYTHONPATH=path, LOCKED_BY=f"{pid}1")
        other = own_home.call("--set", "node.id=1", *settings, "check", "--json", PYTHONPATH=path, LOCKED_BY=str(pid))

    text = f"this invoker runs here (process {pid})"
    for part in ("runtime", "transports"):
        assert (found(called, part)["ok"], found(called, part)["text"]) == (True, text)
    assert (called.code, elsewhere.code, strangers.code, other.code) == (0, 1, 1, 1)
    assert "stop the other program" in found(elsewhere, "transports")["text"]  # nobody can be asked who has it
    assert [one["part"] for one in strangers.json if not one["ok"]] == ["runtime"]
    assert [one["part"] for one in other.json if not one["ok"]] == ["runtime", "transports"]
    assert "stop the other program" in found(other, "transports")["text"]
