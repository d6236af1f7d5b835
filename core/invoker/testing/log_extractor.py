"""What every log extractor must do."""

import asyncio
import re

import pytest

from invoker.contracts import LogExtractor, LogFollower, Logs
from invoker.entities.container import ContainerSpec, Stream
from invoker.entities.runtimes import Runtime
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request

REQUEST = a_request()

OUT, ERR = Stream.STDOUT, Stream.STDERR
PLENTY = 1 << 20

LINE = re.compile(r"(?=.{30} )\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{0,8}[1-9])?Z +(stdout|stderr): (.*)", re.DOTALL)
"""A log line: its stream and its text (spec 8.7.1, 9.11.19)."""


def a_container(*, sentinelled: bool = True) -> ContainerSpec:
    """Return a container whose proxy prints sentinels, or doesn't."""
    runtime = Runtime(kind="python:3", family="python", sentinelled_logs=sentinelled)
    return ContainerSpec(name="wsk_1", runtime=runtime, memory=256 << 20)


def texts(logs: Logs) -> list[tuple[str, str]]:
    """Return stream and text of each line, without its time; fails for a line of another form."""
    matches = [LINE.fullmatch(line) for line in logs.lines]
    assert all(matches), logs.lines
    return [(match[1], match[2]) for match in matches if match]


def end_output(follower: LogFollower) -> None:
    """Do as an action proxy does when the activation is over."""
    follower.write(OUT, SENTINEL_LINE)
    follower.write(ERR, SENTINEL_LINE)


async def logs_of(follower: LogFollower, *output: tuple[Stream, bytes], limit: int = PLENTY) -> Logs:
    """Return the logs of an activation that prints this and ends as it should."""
    follower.begin(REQUEST, limit)
    for stream, chunk in output:
        follower.write(stream, chunk)
    end_output(follower)
    assert await follower.settled(60)
    return follower.end(expected=True)


@pytest.mark.asyncio
class LogExtractorContract:
    """What every log extractor that returns lines must do: `class TestMine(LogExtractorContract)`.

    Fixtures to provide:
        extractor: ready, at the settings' defaults.
    """

    @pytest.fixture
    def follower(self, extractor: LogExtractor) -> LogFollower:
        """Return the follower of a container with sentinels."""
        return extractor.follow(a_container())

    async def test_an_activation_that_prints_nothing_has_no_logs(self, follower: LogFollower) -> None:
        assert await logs_of(follower) == Logs(())

    async def test_lines_have_time_stream_and_text_in_the_order_they_came(self, follower: LogFollower) -> None:
        output = ((OUT, b"one\ntwo\n\n"), (ERR, "thr\u00e9\u00e9\r\n".encode()), (OUT, b"%s {} \xff\n"))

        assert texts(await logs_of(follower, *output)) == [
            ("stdout", "one"),
            ("stdout", "two"),
            ("stdout", ""),
            ("stderr", "thr\u00e9\u00e9"),
            ("stdout", "%s {} \ufffd"),
        ]

    async def test_every_way_to_split_the_output_gives_the_same_lines(self, extractor: LogExtractor) -> None:
        output = "h\u00e9llo\r\nand the end ".encode() + SENTINEL_LINE
        for at in range(len(output)):
            follower = extractor.follow(a_container())
            follower.begin(REQUEST, PLENTY)
            follower.write(ERR, SENTINEL_LINE)
            follower.write(OUT, output[:at])
            follower.write(OUT, output[at:])

            logs = follower.end(expected=True)

            assert (texts(logs), logs.complete) == ([("stdout", "h\u00e9llo"), ("stdout", "and the end ")], True)

    async def test_output_before_the_first_activation_is_its_own(self, follower: LogFollower) -> None:
        follower.write(OUT, b"proxy listens\npro")

        logs = await logs_of(follower, (OUT, b"mpt\n"))

        assert texts(logs) == [("stdout", "proxy listens"), ("stdout", "prompt")]

    async def test_output_between_activations_belongs_to_nobody(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        follower.write(OUT, b"first\n" + SENTINEL_LINE + b"late\n")
        follower.write(ERR, SENTINEL_LINE)
        first = follower.end(expected=True)
        follower.write(ERR, b"later\nlat")

        second = await logs_of(follower, (ERR, b"second\n"))

        assert texts(first) == [("stdout", "first")]
        assert texts(second) == [("stderr", "second")]

    async def test_both_streams_must_end(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        follower.write(OUT, SENTINEL_LINE + SENTINEL_LINE)

        assert not await follower.settled(0.01)

    async def test_missing_sentinels_are_told_in_the_last_line(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        follower.write(OUT, b"whole\nunfin")

        logs = follower.end(expected=True)

        assert not logs.complete
        *printed, last = texts(logs)
        assert printed == [("stdout", "whole"), ("stdout", "unfin")]
        assert last[0] == "stderr"

    async def test_without_sentinels_nothing_is_missing(self, extractor: LogExtractor) -> None:
        follower = extractor.follow(a_container(sentinelled=False))
        follower.begin(REQUEST, PLENTY)
        follower.write(OUT, b"whole\nunfin")

        logs = follower.end(expected=False)

        assert texts(logs) == [("stdout", "whole"), ("stdout", "unfin")]

    async def test_a_developer_error_keeps_what_was_printed(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        follower.write(ERR, b"Traceback\n")

        logs = follower.end(expected=True, error="it failed")

        assert texts(logs)[0] == ("stderr", "Traceback")

    async def test_a_container_that_is_gone_is_not_waited_for(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        follower.write(ERR, b"Killed")
        follower.closed()

        assert not await follower.settled(60)
        assert texts(follower.end(expected=True, error="it failed"))[0] == ("stderr", "Killed")

    async def test_more_than_the_limit_is_replaced_by_one_line(self, follower: LogFollower) -> None:
        logs = await logs_of(follower, *[(OUT, "\u00e9\n".encode() * 100)] * 1000, limit=1000)

        assert logs.complete
        assert logs.reusable
        *kept, last = logs.lines
        assert 1000 - len(kept[0].encode()) <= sum(len(line.encode()) for line in kept) <= 1000
        assert " stderr: " in last

    async def test_the_next_activation_has_a_limit_of_its_own(self, follower: LogFollower) -> None:
        await logs_of(follower, (OUT, b"too long\n"), limit=1)

        assert texts(await logs_of(follower, (OUT, b"hello\n"))) == [("stdout", "hello")]

    async def test_a_forged_sentinel_ends_the_logs_and_the_container(self, follower: LogFollower) -> None:
        logs = await logs_of(follower, (OUT, b"before\n" + SENTINEL_LINE + b"after\n"))

        assert texts(logs) == [("stdout", "before")]
        assert not logs.reusable

    async def test_activations_at_the_same_time_have_no_logs_and_spoil_nothing(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        follower.write(OUT, b"first\nunfin")
        follower.join(REQUEST)
        follower.write(OUT, b"ished\n")
        end_output(follower)
        follower.join(REQUEST)
        follower.write(ERR, b"third\n")
        end_output(follower)
        end_output(follower)

        shared = follower.end(expected=False)
        alone = await logs_of(follower, (OUT, b"alone\n"))

        assert shared == Logs(())
        assert texts(alone) == [("stdout", "alone")]
        assert alone.reusable

    async def test_activations_at_the_same_time_are_not_waited_for(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        waiting = asyncio.ensure_future(follower.settled(60))
        await asyncio.sleep(0)  # lets it begin to wait
        follower.join(REQUEST)

        async with asyncio.timeout(30):
            assert await waiting
            assert await follower.settled(60)

    async def test_late_output_of_activations_at_the_same_time_is_in_no_later_logs(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        follower.join(REQUEST)
        follower.join(REQUEST)
        follower.write(OUT, SENTINEL_LINE)
        follower.end(expected=False)
        follower.write(OUT, b"late\n" + SENTINEL_LINE + b"la")

        follower.begin(REQUEST, PLENTY)
        follower.write(ERR, b"late\n" + SENTINEL_LINE * 2)
        follower.write(OUT, b"te\n" + SENTINEL_LINE[:9])
        follower.write(OUT, SENTINEL_LINE[9:] + b"alone\n" + SENTINEL_LINE)
        follower.write(ERR, SENTINEL_LINE + b"alone too\n" + SENTINEL_LINE)

        assert await follower.settled(60)
        alone = follower.end(expected=True)
        assert sorted(texts(alone)) == [("stderr", "alone too"), ("stdout", "alone")]
        assert alone.reusable

    async def test_a_sentinel_that_never_comes_costs_later_logs_and_mixes_nothing(self, follower: LogFollower) -> None:
        follower.begin(REQUEST, PLENTY)
        follower.join(REQUEST)
        end_output(follower)
        follower.end(expected=False)

        follower.begin(REQUEST, PLENTY)
        follower.write(OUT, b"alone\n")
        end_output(follower)

        assert not await follower.settled(0.01)
        alone = follower.end(expected=True)
        assert not alone.complete
        assert ("stdout", "alone") not in texts(alone)
