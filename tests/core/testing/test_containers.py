import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import pytest

from invoker.contracts import Container, ContainerRuntime, Opening
from invoker.entities.container import ContainerSpec, ContainerState, Reply, Stream
from invoker.errors import Lost, StartFailed, Unreachable
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.container_runtime import ContainerRuntimeContract
from invoker.testing.containers import (
    KINDS,
    FakeContainer,
    FakeRuntime,
    RecordedOutput,
    Script,
    answering,
    fake_runtime,
    reply,
)
from invoker.testing.programs import EXIT_CODE, Program


def a_spec(name: str) -> ContainerSpec:
    kind = KINDS.resolve("python:default")
    assert kind is not None
    return ContainerSpec(name=name, runtime=kind, memory=128 << 20)


def programmed() -> Script:
    """A script that does what the contract suite's programs do."""
    loaded: dict[str, Program] = {}

    async def script(container: FakeContainer, path: str, body: bytes) -> Reply:
        value = json.loads(body)["value"]
        if path == "/init":
            loaded[container.name] = Program(value["code"])
            if loaded[container.name] is Program.SAY:
                container.say(b"from init\n")
            return reply(b"{}")
        return await run(container, loaded[container.name], value)

    return script


async def run(container: FakeContainer, program: Program, value: dict[str, object]) -> Reply:
    match program:
        case Program.SAY:
            container.say(f"{value['text']}\n".encode())
        case Program.LONG:
            return reply(json.dumps({"text": "x" * int(str(value["length"]))}).encode())
        case Program.HANG:
            container.say(b"here\n")
            await asyncio.get_running_loop().create_future()
        case Program.EXIT:
            container.die(exit_code=EXIT_CODE)
        case Program.GREEDY:
            container.die(exit_code=-9, memory_exhausted=True, peak_memory=container.spec.memory)
    return reply(json.dumps(value).encode())


class TestFakeRuntime(ContainerRuntimeContract):
    @pytest.fixture
    def opened(self) -> list[FakeRuntime]:
        return []

    @pytest.fixture
    def opening(self, opened: list[FakeRuntime]) -> Callable[[], Opening[ContainerRuntime]]:
        @asynccontextmanager
        async def remembered() -> AsyncIterator[ContainerRuntime]:
            async with fake_runtime(programmed()) as runtime:
                opened.append(runtime)
                yield runtime

        return remembered

    @pytest.fixture
    def spec(self) -> Callable[[str], ContainerSpec]:
        return a_spec

    @pytest.fixture
    def left(self, opened: list[FakeRuntime]) -> Callable[[], Awaitable[Collection[object]]]:
        async def running() -> Collection[object]:
            return [name for runtime in opened for name in runtime.running]

        return running


async def post(container: Container, path: str) -> Reply:
    return await container.post(path, b"{}", timeout=60, limit=1000)


async def test_by_default_every_run_is_answered_and_its_logs_ended() -> None:
    output = RecordedOutput()
    async with fake_runtime(answering(b'{"n":1}', output=b"hello\n")) as runtime:
        container = await runtime.create(a_spec("wsk_1"), output)

        init = await post(container, "/init")
        run = await post(container, "/run")

    assert (init.status, run) == (200, Reply(200, b'{"n":1}', 7))
    assert output.written == {Stream.STDOUT: b"hello\n" + SENTINEL_LINE, Stream.STDERR: SENTINEL_LINE}
    assert runtime.created[0].requests == [("/init", b"{}"), ("/run", b"{}")]


async def test_a_container_dies_when_the_test_says_so() -> None:
    async with fake_runtime() as runtime:
        container = await runtime.create(a_spec("wsk_1"), RecordedOutput())

        container.die(exit_code=5)
        container.die(exit_code=6)

        assert await container.inspect() == ContainerState(running=False, exit_code=5)
        with pytest.raises(Unreachable):
            await post(container, "/run")


async def test_a_death_during_a_request_loses_it() -> None:
    async def dying(container: FakeContainer, _: str, __: bytes) -> Reply:
        container.die(exit_code=5)
        await asyncio.get_running_loop().create_future()
        return reply(b"too late")

    async with fake_runtime(dying) as runtime:
        container = await runtime.create(a_spec("wsk_1"), RecordedOutput())

        with pytest.raises(Lost) as caught:
            await post(container, "/run")

    assert caught.value.state == ContainerState(running=False, exit_code=5)


async def test_a_start_fails_when_the_test_says_so() -> None:
    async with fake_runtime() as runtime:
        runtime.failure = StartFailed("no room")

        with pytest.raises(StartFailed, match="no room"):
            await runtime.create(a_spec("wsk_1"), RecordedOutput())

    assert runtime.created == []


async def test_a_start_waits_while_the_gate_is_closed() -> None:
    async with fake_runtime() as runtime, asyncio.TaskGroup() as tasks:
        runtime.gate.clear()
        start = tasks.create_task(runtime.create(a_spec("wsk_1"), RecordedOutput()))
        await asyncio.sleep(0)
        before = list(runtime.created)

        runtime.gate.set()

    assert before == []
    assert start.result().removed


async def test_an_output_that_is_written_after_its_end_is_a_fault_of_the_runtime() -> None:
    output = RecordedOutput()
    output.closed()

    with pytest.raises(AssertionError, match="after the end"):
        output.write(Stream.STDOUT, b"late")
