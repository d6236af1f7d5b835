"""Fake containers do what the test says."""

import asyncio

import pytest

from invoker.contracts import Container
from invoker.entities.container import ContainerState, Reply, Stream
from invoker.errors import ContainerError, Lost, StartFailed, Unreachable
from invoker.sentinel import SENTINEL_LINE
from invoker.testing.builders import a_spec
from invoker.testing.container_requests import failure_of
from invoker.testing.containers import FakeContainer, FakeRuntime, RecordedOutput, answering, reply
from tests.core.testing.programmed import fake_runtime


async def post(container: Container, path: str) -> Reply:
    return await container.post(path, b"{}", timeout=60, limit=1000)


async def test_by_default_every_run_is_answered_and_its_logs_ended() -> None:
    output = RecordedOutput()
    async with fake_runtime(answering(b'{"n":1}', output=b"hello\n")) as runtime:
        container = await runtime.create(a_spec(), output)

        init = await post(container, "/init")
        run = await post(container, "/run")

    assert (init.status, run) == (200, Reply(200, b'{"n":1}', 7))
    assert output.written == {Stream.STDOUT: b"hello\n" + SENTINEL_LINE, Stream.STDERR: SENTINEL_LINE}
    assert runtime.created[0].requests == [("/init", b"{}"), ("/run", b"{}")]


async def test_a_container_dies_when_the_test_says_so() -> None:
    async with fake_runtime() as runtime:
        container = await runtime.create(a_spec(), RecordedOutput())

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
        container = await runtime.create(a_spec(), RecordedOutput())

        with pytest.raises(Lost) as caught:
            await post(container, "/run")

    assert caught.value.state == ContainerState(running=False, exit_code=5)


async def test_a_start_fails_when_the_test_says_so() -> None:
    async with fake_runtime() as runtime:
        runtime.failure = StartFailed("no room")

        with pytest.raises(StartFailed, match="no room"):
            await runtime.create(a_spec(), RecordedOutput())

    assert runtime.created == []


async def test_a_start_waits_while_the_gate_is_closed() -> None:
    async with fake_runtime() as runtime, asyncio.TaskGroup() as tasks:
        runtime.gate.clear()
        start = tasks.create_task(runtime.create(a_spec(), RecordedOutput()))
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


async def test_a_pause_fails_when_the_test_says_so_and_the_container_goes_on() -> None:
    async with fake_runtime() as runtime:
        container = await runtime.create(a_spec(), RecordedOutput())
        container.pause_failure = ContainerError("busy")

        with pytest.raises(ContainerError, match="busy"):
            await container.pause()

        assert (await post(container, "/run")).status == 200
        assert (container.paused, container.pauses) == (False, 0)


async def test_a_resume_fails_when_the_test_says_so_and_the_container_stays_paused() -> None:
    async with fake_runtime() as runtime:
        container = await runtime.create(a_spec(), RecordedOutput())
        await container.pause()
        container.resume_failure = ContainerError("stuck")

        with pytest.raises(ContainerError, match="stuck"):
            await container.resume()

        assert (container.paused, container.pauses) == (True, 1)


async def test_pause_and_resume_wait_while_their_gates_are_closed() -> None:
    async with fake_runtime() as runtime, asyncio.TaskGroup() as tasks:
        container = await runtime.create(a_spec(), RecordedOutput())
        seen = []
        for gate, work in ((container.pause_gate, container.pause), (container.resume_gate, container.resume)):
            gate.clear()
            waiting = tasks.create_task(work())
            await asyncio.sleep(0)
            seen.append((waiting.done(), container.paused))

            gate.set()
            await waiting
            seen.append((waiting.done(), container.paused))

    assert seen == [(False, False), (True, True), (False, True), (True, False)]


async def test_a_container_that_dies_while_it_is_being_paused_is_not_paused() -> None:
    async with fake_runtime() as runtime, asyncio.TaskGroup() as tasks:
        container = await runtime.create(a_spec(), RecordedOutput())
        container.pause_gate.clear()
        pausing = tasks.create_task(failure_of(container.pause()))
        await asyncio.sleep(0)

        container.die()
        container.pause_gate.set()

    assert isinstance(pausing.result(), ContainerError)
    assert not container.paused


async def test_a_request_to_a_paused_container_fails_the_test() -> None:
    async with fake_runtime() as runtime:
        container = await runtime.create(a_spec(name="wsk_1"), RecordedOutput())
        await container.pause()

        with pytest.raises(pytest.fail.Exception, match="/run was sent to wsk_1, which is paused"):
            await post(container, "/run")
        assert not issubclass(pytest.fail.Exception, Exception)  # so that no broad `except` hides it


async def test_a_pause_that_makes_no_sense_fails_the_test() -> None:
    async def forever(container: FakeContainer, path: str, body: bytes) -> Reply:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async with fake_runtime(forever) as runtime, asyncio.TaskGroup() as tasks:
        container = await runtime.create(a_spec(), RecordedOutput())
        other = await runtime.create(a_spec(), RecordedOutput())
        tasks.create_task(failure_of(post(container, "/run")))
        await asyncio.sleep(0)

        assert container.in_flight == 1
        with pytest.raises(pytest.fail.Exception, match="serves 1 requests"):
            await container.pause()
        with pytest.raises(pytest.fail.Exception, match="is not paused"):
            await other.resume()
        await other.pause()
        with pytest.raises(pytest.fail.Exception, match="already"):
            await other.pause()
        await container.remove()


async def test_a_runtime_may_have_containers_that_can_not_be_paused() -> None:
    async with fake_runtime(pausable=False) as runtime:
        container = await runtime.create(a_spec(), RecordedOutput())

        assert isinstance(container, Container)
        assert not container.pausable
        assert (await post(container, "/run")).status == 200


async def test_the_first_starts_fail_when_the_test_says_so() -> None:
    runtime = FakeRuntime(failures=[StartFailed("one"), StartFailed("two")])

    failures = [str(await failure_of(runtime.create(a_spec(), RecordedOutput()))) for _ in range(2)]
    container = await runtime.create(a_spec(), RecordedOutput())

    assert failures == ["one", "two"]
    assert runtime.created == [container]
    assert runtime.attempts == 3
