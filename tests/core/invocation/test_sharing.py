"""Several activations in one container, and those who go to another one, all along the straight line (spec 10.12)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from invoker.config import LimitsSettings, PoolSettings, Seconds
from invoker.entities.activation import Activation, Status
from invoker.entities.container import Reply, Stream
from invoker.entities.function import Limits
from invoker.errors import ContainerError, StartFailed
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_function, a_request
from invoker.testing.containers import FakeContainer, FakeRuntime, reply
from tests.core.invocation.line import Heard, Line, a_line, result, until

SHARED = a_function(name="shared", revision="1-a", limits=Limits(concurrency=3))
SINGLE = a_function(name="single", revision="1-a")
BROKEN = reply(b'{"error":"no main"}', 502)


class Stage:
    """A script whose replies come one by one, when the test says so."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, FakeContainer, asyncio.Future[Reply]]] = deque()

    async def __call__(self, container: FakeContainer, path: str, body: bytes) -> Reply:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.waiting.append((path, container, answer))
        return await answer

    async def comes(self, *paths: str) -> None:
        """Wait until exactly these requests wait for their replies."""
        await until(lambda: [path for path, _, _ in self.waiting] == list(paths))

    def answer(self, body: Reply | None = None, *, output: bytes = b"") -> FakeContainer:
        """Answer the first that waits; `/run` with output and sentinels before that."""
        path, container, answer = self.waiting.popleft()
        if path == "/run":
            for chunk in (output, SENTINEL_LINE):
                if chunk:
                    container.say(chunk)
            container.say(SENTINEL_LINE, Stream.STDERR)
        answer.set_result(body or reply(b'{"ok":true}'))
        return container


@asynccontextmanager
async def a_shared_line(runtime: FakeRuntime, **pool: object) -> AsyncIterator[Line]:
    async with a_line(
        runtime,
        SHARED,
        SINGLE,
        limits=LimitsSettings(max_concurrency=3),
        pool_settings=PoolSettings(**pool),  # type: ignore[arg-type]
    ) as line:
        yield line


def invoked(line: Line, count: int) -> list[asyncio.Task[Heard]]:
    return [asyncio.create_task(line.invoke(a_request(SHARED))) for _ in range(count)]


async def running_together(line: Line, stage: Stage, count: int) -> list[asyncio.Task[Heard]]:
    """Have activations that run at the same time, in one new container."""
    tasks = invoked(line, count)
    await stage.comes("/init")
    stage.answer()
    await stage.comes(*["/run"] * count)
    return tasks


async def activations(tasks: list[asyncio.Task[Heard]]) -> list[Activation]:
    return [(await task).activation for task in tasks]


def notes(activation: Activation) -> dict[str, str | int]:
    return dict(activation.notes)


async def test_three_share_a_container_that_is_initialised_once() -> None:
    stage = Stage()
    runtime = FakeRuntime(stage)
    async with a_shared_line(runtime) as line:
        tasks = await running_together(line, stage, 3)
        for _ in range(3):
            stage.answer()
        first, *others = await activations(tasks)

        assert [one.outcome.status for one in (first, *others)] == [Status.SUCCESS] * 3
        assert first.init_time is not None
        assert [(one.init_time, one.notes) for one in others] == [(None, ())] * 2
        assert notes(first) == {"coldStart": "new"}
        assert len(runtime.created) == 1
        assert len(line.records) == 3


async def test_only_who_is_alone_has_logs() -> None:
    """Spec 9.11.12."""
    stage = Stage()
    runtime = FakeRuntime(stage)
    async with a_shared_line(runtime) as line:
        seen = []
        for count in (1, 2, 1):
            tasks = invoked(line, count)
            if not seen:
                await stage.comes("/init")
                stage.answer()
            await stage.comes(*["/run"] * count)
            for number in range(count):
                stage.answer(output=f"{count} {number}\n".encode())
            seen.append([[line.partition(": ")[2] for line in one.logs] for one in await logged(line, tasks)])

        assert seen == [[["1 0"]], [[], []], [["1 0"]]]
        assert len(runtime.created) == 1


async def logged(line: Line, tasks: list[asyncio.Task[Heard]]) -> list[Activation]:
    """Return the records of those who ended, which have the logs."""
    ended = {one.activation_id for one in await activations(tasks)}
    return [record for record in line.records if record.activation_id in ended]


async def test_who_is_joined_while_its_logs_are_awaited_does_not_wait_for_them() -> None:
    stage = Stage()
    async with a_shared_line(FakeRuntime(stage)) as line:
        (first,) = await running_together(line, stage, 1)
        _, container, answer = stage.waiting.popleft()
        answer.set_result(reply(b'{"ok":1}'))  # without sentinels
        await until(answer.done)
        (second,) = invoked(line, 1)
        await stage.comes("/run")
        await first
        container.say(SENTINEL_LINE)
        container.say(SENTINEL_LINE, Stream.STDERR)
        stage.answer()

        assert [one.outcome.status for one in await activations([first, second])] == [Status.SUCCESS] * 2
        assert [record.logs for record in line.records] == [(), ()]


async def test_who_waits_for_an_init_that_fails_gets_the_same_answer() -> None:
    """Spec 10.12.2."""
    stage = Stage()
    runtime = FakeRuntime(stage)
    async with a_shared_line(runtime) as line:
        tasks = invoked(line, 3)
        await stage.comes("/init")
        await until(lambda: line.admission.running == 3)
        stage.answer(BROKEN)
        ended = await activations(tasks)

        assert [one.outcome for one in ended] == [ended[0].outcome] * 3
        assert ended[0].outcome.status is Status.DEVELOPER_ERROR
        assert [one.init_time is None for one in ended] == [False, True, True]
        assert len(line.records) == 3
        await until(lambda: runtime.created[0].removed)
        assert len(runtime.created) == 1


async def test_who_waits_for_the_init_of_a_container_that_dies_gets_the_same_answer() -> None:
    stage = Stage()
    runtime = FakeRuntime(stage)
    async with a_shared_line(runtime) as line:
        tasks = invoked(line, 3)
        await stage.comes("/init")
        runtime.created[0].die(exit_code=1)
        ended = await activations(tasks)

        assert [one.outcome for one in ended] == [ended[0].outcome] * 3
        assert ended[0].outcome.status is Status.DEVELOPER_ERROR
        assert len(runtime.created) == 1


async def test_who_waits_for_the_init_of_somebody_who_is_cut_off_runs_elsewhere() -> None:
    stage = Stage()
    runtime = FakeRuntime(stage)
    async with a_shared_line(runtime) as line:
        all_three = [line.begin(a_request(SHARED)) for _ in range(3)]
        await stage.comes("/init")
        cut_off = line.cut_off_in_init()
        await cut_off.ended.wait()
        stage.waiting.popleft()
        await stage.comes("/init")
        stage.answer()
        await stage.comes("/run", "/run")
        for _ in range(2):
            stage.answer()
        others = [one for one in all_three if one is not cut_off]
        for one in others:
            await one.ended.wait()
        second, third = sorted((one.activation for one in others), key=lambda one: not one.notes)

        assert [one.outcome.status for one in (second, third)] == [Status.SUCCESS] * 2
        assert (notes(second), notes(third)) == ({"coldStart": "moved"}, {})
        assert len(runtime.created) == 2


async def test_a_container_that_cannot_be_started_is_everybodys_system_error() -> None:
    runtime = FakeRuntime()
    runtime.failure = StartFailed("no room")
    runtime.gate.clear()
    async with a_shared_line(runtime) as line:
        tasks = invoked(line, 3)
        await until(lambda: line.admission.running == 3 and runtime.attempts == 1)
        runtime.gate.set()
        ended = await activations(tasks)

        assert [one.is_system_error for one in ended] == [True] * 3
        assert (runtime.attempts, len(line.records)) == (1, 3)


async def test_a_failure_costs_the_container_when_the_others_have_ended() -> None:
    """Spec 10.11.1."""
    stage = Stage()
    runtime = FakeRuntime(stage)
    async with a_shared_line(runtime) as line:
        tasks = await running_together(line, stage, 3)
        container = stage.answer(reply(b'{"error":"broken"}', 500))
        failed = (await tasks[0]).activation
        during = container.removed
        stage.answer()
        stage.answer()
        others = await activations(tasks[1:])

        assert failed.outcome.status is Status.DEVELOPER_ERROR
        assert during is False
        assert [one.outcome.status for one in others] == [Status.SUCCESS] * 2
        await until(lambda: container.removed)


async def test_a_container_that_is_overcharged_hands_one_on_and_finishes_the_others() -> None:
    """Spec 9.8, T53: it answers 503."""
    stage = Stage()
    runtime = FakeRuntime(stage)
    async with a_shared_line(runtime) as line:
        (first,) = await running_together(line, stage, 1)
        stage.answer()
        await first
        tasks = invoked(line, 2)
        await stage.comes("/run", "/run")
        stage.answer(reply(b"{}", 503))
        await stage.comes("/run", "/init")
        stage.answer(reply(b'{"n":1}'))
        stage.answer()
        await stage.comes("/run")
        stage.answer(reply(b'{"n":2}'))
        ended = await activations(tasks)

        assert [result(one) for one in ended] == [{"n": 2}, {"n": 1}]
        assert notes(ended[0]) == {"coldStart": "moved"}
        await until(lambda: runtime.created[0].removed)


async def test_a_paused_container_that_cannot_be_resumed_hands_its_activation_on() -> None:
    """Spec 10.10.2."""
    runtime = FakeRuntime()
    async with a_shared_line(runtime, pause_grace=Seconds(0.001)) as line:
        await line.invoke(a_request(SINGLE))
        await until(lambda: runtime.created[0].paused)
        runtime.created[0].resume_failure = ContainerError("it does not go on")

        heard = await line.invoke(a_request(SINGLE))

        assert heard.activation.outcome.status is Status.SUCCESS
        assert notes(heard.activation) == {"coldStart": "moved"}
        await until(lambda: runtime.created[0].removed)


async def test_a_refused_pause_is_nobodys_failure(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "invoker.pool")
    runtime = FakeRuntime()
    async with a_shared_line(runtime, pause_grace=Seconds(0.001)) as line:
        first = asyncio.create_task(line.invoke(a_request(SINGLE)))
        await until(lambda: bool(runtime.created))
        runtime.created[0].pause_failure = ContainerError("no cgroup for it")
        await first
        await until(lambda: "could not be paused: no cgroup for it" in caplog.text)

        heard = await line.invoke(a_request(SINGLE))

        assert (heard.activation.outcome.status, heard.activation.init_time) == (Status.SUCCESS, None)
        assert len(runtime.created) == 1
