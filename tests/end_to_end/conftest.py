"""Where the program is used: a place for each module, or for one test alone."""

from pathlib import Path

import pytest

from tests.end_to_end.program import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The place that all tests of a module share."""
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    """A place for one test."""
    return Home(tmp_path)


@pytest.fixture(params=["python", "nodejs"])
def language(request: pytest.FixtureRequest) -> str:
    """The family of an action's kind; without Node.js its half of the tests is skipped, and says so."""
    return _runnable(request)


@pytest.fixture(params=["waits", "waits-nodejs", "ignores"])
def visitor_name(request: pytest.FixtureRequest) -> str:
    """One of the actions that come to the meeting and stay."""
    return _runnable(request)


def _runnable(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name.endswith("nodejs"):
        request.getfixturevalue("node")
    return name
