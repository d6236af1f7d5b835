"""What every container runtime must do."""

import asyncio
import json

import pytest

from invoker.contracts import ContainerRuntime
from invoker.errors import Lost, StartFailed
from invoker.testing.container_pause import ContainerPauseContract
from invoker.testing.container_requests import (
    ContainerRequestsContract,
    InitBody,
    Left,
    MakeSpec,
    Open,
    failure_of,
    post,
)
from invoker.testing.containers import RecordedOutput
from invoker.testing.programs import EXIT_CODE, Program, init_body, run_body


class ContainerRuntimeContract(ContainerRequestsContract, ContainerPauseContract):
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

    @pytest.mark.asyncio
    async def test_a_container_has_the_name_it_was_given(self, opening: Open, spec: MakeSpec) -> None:
        async with opening() as runtime:
            wanted = spec("wsk0-b.1_7")
            container = await runtime.create(wanted, RecordedOutput())

            assert container.name == wanted.name
            assert (await container.inspect()).running

    @pytest.mark.asyncio
    async def test_no_two_containers_have_one_name(self, opening: Open, spec: MakeSpec) -> None:
        async with opening() as runtime:
            first = await runtime.create(spec("wsk_1"), RecordedOutput())

            with pytest.raises(StartFailed):
                await runtime.create(spec("wsk_1"), RecordedOutput())

            assert (await first.inspect()).running
            await first.remove()
            assert (await runtime.create(spec("wsk_1"), RecordedOutput())).name == spec("wsk_1").name

    @pytest.mark.asyncio
    async def test_a_container_that_exits_is_lost_with_its_exit_code(
        self, opening: Open, spec: MakeSpec, init_body: InitBody
    ) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)
            await post(container, "/init", init_body(Program.EXIT))

            with pytest.raises(Lost) as caught:
                await post(container, "/run", run_body())
            await output.ends()

            assert await container.inspect() == caught.value.state
        assert not caught.value.state.running
        assert caught.value.state.exit_code == EXIT_CODE
        assert not caught.value.state.memory_exhausted

    @pytest.mark.asyncio
    async def test_too_much_memory_ends_a_container_and_is_told(
        self, opening: Open, spec: MakeSpec, init_body: InitBody, *, limits_memory: bool
    ) -> None:
        if not limits_memory:
            pytest.skip("this runtime doesn't limit memory here")
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), RecordedOutput())
            await post(container, "/init", init_body(Program.GREEDY))

            with pytest.raises(Lost) as caught:
                await post(container, "/run", run_body())

        state = caught.value.state
        assert not state.running
        assert state.memory_exhausted
        assert state.peak_memory is None or state.peak_memory > 100 << 20

    @pytest.mark.asyncio
    async def test_removing_twice_is_removing_once(self, opening: Open, spec: MakeSpec, left: Left) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)

            await asyncio.gather(container.remove(), container.remove())
            await container.remove()

            assert not await left()
        assert output.closings == 1

    @pytest.mark.asyncio
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

    @pytest.mark.asyncio
    async def test_eight_containers_start_at_once_and_are_eight(
        self, opening: Open, spec: MakeSpec, init_body: InitBody, left: Left
    ) -> None:
        async def one(runtime: ContainerRuntime, number: int) -> object:
            container = await runtime.create(spec(f"wsk_{number}"), RecordedOutput())
            await post(container, "/init", init_body(Program.ECHO))
            answer = await post(container, "/run", run_body(number=number))
            return json.loads(answer.body)["number"]

        async with opening() as runtime:
            answers = await asyncio.gather(*(one(runtime, number) for number in range(8)))

            assert answers == list(range(8))
            assert len(await left()) >= 8, "`left` sees nothing, so it proves nothing"

    @pytest.mark.asyncio
    async def test_leaving_the_runtime_removes_every_container(
        self, opening: Open, spec: MakeSpec, init_body: InitBody, left: Left
    ) -> None:
        outputs = [RecordedOutput() for _ in range(3)]
        async with opening() as runtime:
            for number, output in enumerate(outputs):
                container = await runtime.create(spec(f"wsk_{number}"), output)
                await post(container, "/init", init_body(Program.ECHO))

        assert not await left()
        assert [output.closings for output in outputs] == [1, 1, 1]

    @pytest.mark.asyncio
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
