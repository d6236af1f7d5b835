"""What every container runtime must do, and what those must that can pause containers."""

import asyncio
import time
from typing import Final

import pytest

from invoker.contracts import ContainerRuntime
from invoker.errors import ContainerError, Lost, StartFailed
from invoker.testing.container_requests import (
    ContainerRequestsContract,
    InitBody,
    Left,
    MakeSpec,
    Open,
    Start,
    answer,
    failure_of,
    starting,
)
from invoker.testing.containers import RecordedOutput
from invoker.testing.programs import EXIT_CODE, TICK_SECONDS, Program, init_body

_LONG: Final = 300
"""Ticks of a container that runs, while another stands."""


@pytest.mark.asyncio
class ContainerRuntimeContract(ContainerRequestsContract):
    """What every container runtime must do: `class TestMine(ContainerRuntimeContract)`.

    Fixtures to provide:
        opening: function that opens a runtime of the test's own.
        spec: function from a name to what is to be started: a container that runs Python, with 128 MB. The name may be
            given something that no other test has, always the same, where tests share a place such as an engine.
        left: async function that returns whatever is left of this test's containers, such as processes, names or
            directories. It must not go through the runtime: a runtime can't vouch for itself.

    To override, where it isn't so:
        init_body: function from a `Program` to the body of its `/init`; by default it is Python's.
        limits_memory: whether the memory limit is kept and told; by default it is.
        pauses: whether containers can be paused; by default they are not. Either is checked.
        sharing: like `spec`, for a container that runs Node.js and serves several requests at once; by default `None`:
            there is none.
    """

    @pytest.fixture
    def init_body(self) -> InitBody:
        """Return what makes the body of an `/init`."""
        return init_body

    @pytest.fixture
    def limits_memory(self) -> bool:
        """Whether the runtime keeps containers within their memory."""
        return True

    @pytest.fixture
    def pauses(self) -> bool:
        """Whether containers can be paused."""
        return False

    @pytest.fixture
    def sharing(self) -> MakeSpec | None:
        """Return what makes the specification of a container that serves several requests at once."""
        return None

    @pytest.fixture
    def start(self, spec: MakeSpec, init_body: InitBody) -> Start:
        """Return what starts containers."""
        return starting(spec, init_body)

    @pytest.fixture
    def pausing(self, *, pauses: bool) -> None:
        """Skip what is about pausing where there is none, which a test of its own makes sure of."""
        if not pauses:
            pytest.skip("this runtime doesn't pause containers")

    # --- from start to end -------------------------------------------------------------------------------------

    async def test_a_container_has_the_name_it_was_given(self, opening: Open, spec: MakeSpec) -> None:
        async with opening() as runtime:
            wanted = spec("wsk0_7_zoe_resize.v1")
            container = await runtime.create(wanted, RecordedOutput())

            assert container.name == wanted.name
            assert (await container.inspect()).running

    async def test_no_two_containers_have_one_name(self, opening: Open, spec: MakeSpec) -> None:
        async with opening() as runtime:
            first = await runtime.create(spec("wsk_1"), RecordedOutput())

            with pytest.raises(StartFailed):
                await runtime.create(spec("wsk_1"), RecordedOutput())

            assert (await first.inspect()).running
            await first.remove()
            assert (await runtime.create(spec("wsk_1"), RecordedOutput())).name == spec("wsk_1").name

    async def test_a_container_that_exits_is_lost_with_its_exit_code(self, opening: Open, start: Start) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await start(runtime, Program.EXIT, output)

            with pytest.raises(Lost) as caught:
                await answer(container)
            await output.ends()

            assert await container.inspect() == caught.value.state
        assert not caught.value.state.running
        assert caught.value.state.exit_code == EXIT_CODE
        assert not caught.value.state.memory_exhausted

    async def test_too_much_memory_ends_a_container_and_is_told(
        self, opening: Open, start: Start, *, limits_memory: bool
    ) -> None:
        if not limits_memory:
            pytest.skip("this runtime doesn't limit memory here")
        async with opening() as runtime:
            container = await start(runtime, Program.GREEDY)

            with pytest.raises(Lost) as caught:
                await answer(container)

        state = caught.value.state
        assert not state.running
        assert state.memory_exhausted
        assert state.peak_memory is None or state.peak_memory > 100 << 20

    async def test_removing_twice_is_removing_once(self, opening: Open, spec: MakeSpec, left: Left) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)

            await asyncio.gather(container.remove(), container.remove())
            await container.remove()

            assert not await left()
        assert output.closings == 1

    @pytest.mark.parametrize("turns", range(1, 9))
    async def test_a_cancelled_start_leaves_nothing(
        self, opening: Open, spec: MakeSpec, left: Left, turns: int
    ) -> None:
        async with opening() as runtime:
            start = asyncio.create_task(failure_of(runtime.create(spec("wsk_1"), RecordedOutput())))
            for _ in range(turns):  # of the event loop: wherever the start has come by then
                await asyncio.sleep(0)

            start.cancel()
            created = await asyncio.gather(start, return_exceptions=True)

            if isinstance(created[0], asyncio.CancelledError):
                assert not await left()
                assert (await runtime.create(spec("wsk_1"), RecordedOutput())).name == spec("wsk_1").name

    async def test_eight_containers_start_at_once_and_are_eight(self, opening: Open, start: Start, left: Left) -> None:
        async def one(runtime: ContainerRuntime, number: int) -> object:
            container = await start(runtime, Program.ECHO, name=f"wsk_{number}")
            return (await answer(container, number=number))["number"]

        async with opening() as runtime:
            answers = await asyncio.gather(*(one(runtime, number) for number in range(8)))

            assert answers == list(range(8))
            assert len(await left()) >= 8, "`left` sees nothing, so it proves nothing"

    async def test_leaving_the_runtime_removes_every_container(self, opening: Open, start: Start, left: Left) -> None:
        outputs = [RecordedOutput() for _ in range(3)]
        async with opening() as runtime:
            for number, output in enumerate(outputs):
                await start(runtime, Program.ECHO, output, name=f"wsk_{number}")

        assert not await left()
        assert [output.closings for output in outputs] == [1, 1, 1]

    async def test_a_failure_within_the_runtime_removes_every_container_too(
        self, opening: Open, spec: MakeSpec, left: Left
    ) -> None:
        async def fail_inside() -> None:
            async with opening() as runtime:
                await runtime.create(spec("wsk_1"), RecordedOutput())
                raise RuntimeError("broken")

        with pytest.raises((RuntimeError, BaseExceptionGroup), match=r"broken|unhandled"):
            await fail_inside()

        assert not await left()

    # --- pausing -----------------------------------------------------------------------------------------------

    async def test_a_container_can_be_paused_if_and_only_if_the_suite_is_told_so(
        self, opening: Open, spec: MakeSpec, *, pauses: bool
    ) -> None:
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), RecordedOutput())

            assert container.pausable == pauses

    @pytest.mark.usefixtures("pausing")
    async def test_a_paused_container_stands_still(self, opening: Open, start: Start) -> None:
        async with opening() as runtime:
            container = await start(runtime, Program.TICK)
            other = await start(runtime, Program.TICK, name="wsk_2")
            begun, before = time.monotonic(), (await answer(container))["ticks"]

            await container.pause()
            paused, until = time.monotonic(), (await answer(other))["ticks"] + _LONG
            while (await answer(other))["ticks"] < until:
                pass
            stood = time.monotonic() - paused
            await container.resume()

            after = (await answer(container))["ticks"]
            ran = time.monotonic() - begun - stood
        assert 0 <= after - before <= ran / TICK_SECONDS + 1, f"it went on in the {stood:.3f} s of its pause"

    @pytest.mark.usefixtures("pausing")
    async def test_a_container_goes_on_after_each_pause(self, opening: Open, start: Start) -> None:
        async with opening() as runtime:
            container = await start(runtime, Program.ECHO)
            answers = []

            for turn in range(3):
                await container.pause()
                await container.resume()
                answers.append(await answer(container, turn=turn))

        assert answers == [{"turn": turn} for turn in range(3)]

    @pytest.mark.usefixtures("pausing")
    async def test_a_paused_container_has_not_ended(self, opening: Open, start: Start) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await start(runtime, Program.ECHO, output)

            await container.pause()

            assert (await container.inspect()).running
            assert output.closings == 0

    @pytest.mark.usefixtures("pausing")
    async def test_a_paused_container_can_be_removed(self, opening: Open, start: Start, left: Left) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await start(runtime, Program.ECHO, output)
            await container.pause()

            await container.remove()

            assert not await left()
            assert not (await container.inspect()).running
        assert output.closings == 1

    @pytest.mark.usefixtures("pausing")
    async def test_a_container_can_be_removed_while_it_is_being_paused(
        self, opening: Open, start: Start, left: Left
    ) -> None:
        async with opening() as runtime:
            container = await start(runtime, Program.ECHO)

            pausing, _ = await asyncio.gather(failure_of(container.pause()), container.remove())

            assert pausing is None or isinstance(pausing, ContainerError)
            assert not await left()

    @pytest.mark.usefixtures("pausing")
    async def test_what_is_gone_can_be_neither_paused_nor_resumed(self, opening: Open, start: Start) -> None:
        async with opening() as runtime:
            never_paused = await start(runtime, Program.ECHO)
            paused = await start(runtime, Program.ECHO, name="wsk_2")
            await paused.pause()
            await asyncio.gather(never_paused.remove(), paused.remove())

            with pytest.raises(ContainerError):
                await never_paused.pause()
            with pytest.raises(ContainerError):
                await paused.resume()

    @pytest.mark.usefixtures("pausing")
    async def test_leaving_the_runtime_removes_paused_containers(self, opening: Open, start: Start, left: Left) -> None:
        async with opening() as runtime:
            for number in range(3):
                await (await start(runtime, Program.ECHO, name=f"wsk_{number}")).pause()

        assert not await left()
