"""What the caller hears, and when: logs that are late, and a connection that is gone (spec 2.4)."""

import asyncio

import pytest

from invoker.entities.container import Reply, Stream
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_request
from invoker.testing.containers import FakeContainer, FakeRuntime, reply
from tests.core.invocation.line import HELLO, Heard, a_line, until


class Silent:
    """A script whose sentinels come when the test says so."""

    def __init__(self) -> None:
        self.container: FakeContainer | None = None

    async def __call__(self, container: FakeContainer, path: str, body: bytes) -> Reply:
        if path == "/run":
            self.container = container
        return reply(b'{"ok":1}')

    def finish(self) -> None:
        assert self.container is not None
        self.container.say(b"late\n")
        self.container.say(SENTINEL_LINE)
        self.container.say(SENTINEL_LINE, Stream.STDERR)


async def test_a_result_whose_logs_are_late_goes_ahead_where_the_transport_can_split() -> None:
    """Spec 2.4: result without logs, then completion; the record has the logs (2.4.3)."""
    script = Silent()
    heard = Heard(splits=True)
    async with a_line(FakeRuntime(script), HELLO) as line:
        invocation = asyncio.create_task(line.invoke(a_request(HELLO), heard))
        await until(lambda: "result" in heard.words)
        before = list(heard.words)
        script.finish()
        await invocation

        assert before == ["accepted", "result"]
        assert heard.words == ["accepted", "result", "completion"]
        assert heard.said[1][1] is not None
        assert heard.said[1][1].logs == ()
        assert [line.endswith("stdout: late") for line in line.records[0].logs] == [True]


@pytest.mark.parametrize(("blocking", "ack"), [(True, "combined"), (False, "completion")])
async def test_a_transport_with_one_answer_waits_for_the_logs(blocking: bool, ack: str) -> None:  # noqa: FBT001
    script = Silent()
    heard = Heard()
    async with a_line(FakeRuntime(script), HELLO) as line:
        invocation = asyncio.create_task(line.invoke(a_request(HELLO, blocking=blocking), heard))
        await until(lambda: script.container is not None)
        script.finish()
        await invocation

    assert heard.words == ["accepted", ack]


async def test_a_caller_that_is_gone_loses_nothing() -> None:
    async with a_line(FakeRuntime(), HELLO) as line:
        heard = await line.invoke(a_request(HELLO), Heard(broken=True))

        assert heard.words == ["accepted", "combined"]
        assert len(line.records) == 1
