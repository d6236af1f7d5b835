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
