"""`invoker check`: each part is opened; what it warns of and what it can't do is told."""

from pathlib import Path

from tests.end_to_end.distributions import distribution, search_path
from tests.end_to_end.program import Called, Home

HANGS = """
import logging
from contextlib import asynccontextmanager

from invoker import hookimpl
from invoker.entities.runtimes import Runtimes


class Hangs:
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
