"""Options and fixtures that every test may use."""

import shutil
from collections import Counter
from collections.abc import Callable, Generator

import pytest

from tests.loops import is_spared


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-services",
        action="store_true",
        default=False,
        help="fail, rather than skip, a test whose service or program is missing",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what would say the same once more (see `tests.loops`)."""
    spared = [item for item in items if is_spared(item)]
    if spared:
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if not is_spared(item)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have what a test has logged travel between processes: pytest-xdist breaks on what is no Unicode."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was not tested, and why."""
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        told = "; ".join(f"{reason} ({count} tests)" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"not tested here: {told}", yellow=True)


@pytest.fixture(scope="session")
def absent(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Call it when something outside the project is missing: skips the test, or fails it under --all-services."""

    def give_up(what: str) -> None:
        if request.config.getoption("--all-services"):
            pytest.fail(what)
        pytest.skip(what)

    return give_up


@pytest.fixture(scope="session")
def node(absent: Callable[[str], None]) -> str:
    """The Node.js program."""
    return program("node", absent)


@pytest.fixture(scope="session")
def curl_program(absent: Callable[[str], None]) -> str:
    """The curl program."""
    return program("curl", absent)


def program(name: str, absent: Callable[[str], None]) -> str:
    """Find a program on PATH."""
    found = shutil.which(name)
    if found is None:
        absent(f"there is no `{name}` on PATH")
    assert found is not None
    return found
