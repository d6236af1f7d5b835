"""`invoker reap`: what a killed invoker has left is removed, by a runtime that can leave something."""

from pathlib import Path

from tests.end_to_end.distributions import distribution, search_path
from tests.end_to_end.program import Called, Home

SWEEPS = """
import os
from contextlib import asynccontextmanager

from invoker import hookimpl
from invoker.contracts import ContainerRuntime
from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError, StartFailed


class Sweeps(ContainerRuntime):
    async def sweep(self, *, force=False):
        return os.environ.get("LEFT", "").split() + os.environ.get("OTHERS", "").split() * force

    def runtimes(self):
        return Runtimes([])

    async def create(self, spec, output):
        raise StartFailed("this is only for looking on")


@hookimpl
@asynccontextmanager
async def open_container_runtime(settings):
    if "LOCKED_BY" in os.environ:
        raise SettingsError([f"node.id: invoker0 runs already (process {os.environ['LOCKED_BY']}): stop it first"])
    if "NO_ENGINE" in os.environ:
        raise StartFailed("the engine does not answer")
    yield Sweeps()
"""


def reap(home: Home, folder: Path, *arguments: str, **environment: str) -> Called:
    """Run the command with a runtime that has found containers of the names in LEFT."""
    place = distribution(folder / "plugins", "sweeps", "sweeps = sweeps", sweeps=SWEEPS)
    return home.call("--set", "runtime=sweeps", "reap", *arguments, PYTHONPATH=search_path(home, place), **environment)


def test_what_was_left_is_named(own_home: Home, tmp_path: Path) -> None:
    called = reap(own_home, tmp_path, LEFT="wsk0_1a_1 wsk0_1a_2")

    assert (called.code, called.errors) == (0, "")
    assert called.output == "removed wsk0_1a_1\nremoved wsk0_1a_2\n"


def test_what_may_be_anothers_goes_only_by_force(own_home: Home, tmp_path: Path) -> None:
    called = reap(own_home, tmp_path / "one", OTHERS="wsk0_9f_1")
    by_force = reap(own_home, tmp_path / "other", "--force", OTHERS="wsk0_9f_1")

    assert (called.output, by_force.output) == ("nothing was left\n", "removed wsk0_9f_1\n")


def test_programs_are_told_as_well(own_home: Home, tmp_path: Path) -> None:
    called = reap(own_home, tmp_path, "--json", LEFT="wsk0_1a_1")

    assert called.json == {"runtime": "sweeps", "sweeps": True, "removed": ["wsk0_1a_1"]}


def test_nothing_may_be_left(own_home: Home, tmp_path: Path) -> None:
    called = reap(own_home, tmp_path)

    assert (called.code, called.output, called.errors) == (0, "nothing was left\n", "")


def test_while_the_invoker_runs_nothing_is_removed(own_home: Home, tmp_path: Path) -> None:
    called = reap(own_home, tmp_path, LOCKED_BY="4711")

    assert (called.code, called.output) == (2, "")
    assert called.errors == "error: node.id: invoker0 runs already (process 4711): stop it first\n"
    assert "2 wrong settings, or this invoker runs" in " ".join(own_home.call("reap", "--help").output.split())


def test_without_an_engine_it_does_not_work(own_home: Home, tmp_path: Path) -> None:
    called = reap(own_home, tmp_path, NO_ENGINE="1")

    assert (called.code, called.errors) == (1, "error: the engine does not answer\n")


def test_of_child_processes_nothing_can_be_left(home: Home) -> None:
    called = home.call("reap")
    for_programs = home.call("reap", "--json")

    assert called.code == 0
    assert called.output == "nothing can be left: containers of the runtime 'process' end with their invoker\n"
    assert for_programs.json == {"runtime": "process", "sweeps": False, "removed": []}
