"""The plugin as the core opens it."""

from collections.abc import AsyncIterator

import pytest

from invoker import Settings
from invoker.config import Compat, RolesSettings
from invoker.contracts import LogExtractor
from invoker.testing.builders import a_request
from invoker.testing.log_extractor import ERR, LogExtractorContract, a_container, end_output
from invoker_attached_logs import open_log_extractor

REQUEST = a_request()


class TestAttachedLogs(LogExtractorContract):
    @pytest.fixture
    async def extractor(self) -> AsyncIterator[LogExtractor]:
        async with open_log_extractor(Settings.of()) as extractor:
            yield extractor


@pytest.mark.parametrize(("compat", "lines"), [("openwhisk", 0), ("functions", 1)])
async def test_compat_decides_what_a_limit_of_zero_means(compat: Compat, lines: int) -> None:
    settings = Settings.of(RolesSettings(compat=compat))
    async with open_log_extractor(settings) as extractor:
        follower = extractor.follow(a_container())
        follower.begin(REQUEST, 0)
        follower.write(ERR, b"text\n")
        end_output(follower)

        logs = follower.end(expected=True)

        assert len(logs.lines) == lines
