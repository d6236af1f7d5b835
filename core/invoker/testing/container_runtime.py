"""What every container runtime must do."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, Final, TypeAlias

import pytest

from invoker.contracts import Container, ContainerRuntime, Opening
from invoker.entities.container import ContainerSpec, Reply, Stream
from invoker.errors import Lost, PostTimedOut, StartFailed, Unreachable
from invoker.testing.containers import RecordedOutput
from invoker.testing.programs import EXIT_CODE, Program, init_body, run_body

Open: TypeAlias = Callable[[], Opening[ContainerRuntime]]
MakeSpec: TypeAlias = Callable[[str], ContainerSpec]
InitBody: TypeAlias = Callable[[Program], bytes]
Left: TypeAlias = Callable[[], Awaitable[Collection[object]]]

PLENTY: Final = 1 << 20
PATIENCE: Final = 60.0
"""Seconds for whatever is no time limit under test."""


async def post(
    container: Container, path: str, body: bytes, *, seconds: float = PATIENCE, limit: int = PLENTY
) -> Reply:
    """Post with enough of everything."""
    return await container.post(path, body, timeout=seconds, limit=limit)


class ContainerRuntimeContract:
    """What every container runtime must do: `class TestMine(ContainerRuntimeContract)`.

    Fixtures to provide:
        opening: function that opens a runtime of the test's own.
        spec: function from a name to what is to be started: a container that runs Python, with 128 MB.
        left: async function that returns whatever is left of this test's containers, such as processes, names or
            directories. It must not go through the runtime: a runtime can't vouch for itself.

    To override, where it isn't so:
        init_body: function from a `Program` to the body of its `/init`; by default it is Python's.
        limits_memory: whether the memory limit is kept and told; by default it is.
    """

    @pytest.fixture
    def init_body(self) -> InitBody:
        """Return what makes the body of an `/init`."""
        return init_body

    @pytest.fixture
    def limits_memory(self) -> bool:
        """Whether the runtime keeps containers within their memory."""
        return True

    @pytest.mark.asyncio
    async def test_a_container_takes_init_and_run(self, opening: Open, spec: MakeSpec, init_body: InitBody) -> None:
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), RecordedOutput())

            init = await post(container, "/init", init_body(Program.ECHO))
            first = await post(container, "/run", run_body(greeting="héllo"))
            second = await post(container, "/run", run_body(n=2))

        assert init.status == first.status == second.status == 200
        assert json.loads(first.body) == {"greeting": "héllo"}
        assert json.loads(second.body) == {"n": 2}
        assert first.length == len(first.body)

    @pytest.mark.asyncio
    async def test_a_container_has_the_name_it_was_given(self, opening: Open, spec: MakeSpec) -> None:
        async with opening() as runtime:
            container = await runtime.create(spec("wsk0_7_zoe_resize.v1"), RecordedOutput())

            assert container.name == "wsk0_7_zoe_resize.v1"
            assert (await container.inspect()).running

    @pytest.mark.asyncio
    async def test_no_two_containers_have_one_name(self, opening: Open, spec: MakeSpec) -> None:
        async with opening() as runtime:
            first = await runtime.create(spec("wsk_1"), RecordedOutput())

            with pytest.raises(StartFailed):
                await runtime.create(spec("wsk_1"), RecordedOutput())

            assert (await first.inspect()).running
            await first.remove()
            assert (await runtime.create(spec("wsk_1"), RecordedOutput())).name == "wsk_1"

    @pytest.mark.asyncio
    async def test_output_comes_from_the_first_byte_to_the_last(
        self, opening: Open, spec: MakeSpec, init_body: InitBody
    ) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)

            await post(container, "/init", init_body(Program.SAY))
            await post(container, "/run", run_body(text="from run"))
            await output.says(b"from run\n")
            await container.remove()

        assert output.written[Stream.STDOUT].startswith(b"from init\nfrom run\n")

    @pytest.mark.asyncio
    async def test_output_ends_once(self, opening: Open, spec: MakeSpec) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)
            before = output.closings

            await container.remove()
            await output.ends()
            await container.remove()

        assert (before, output.closings) == (0, 1)

    @pytest.mark.asyncio
    async def test_a_reply_is_kept_up_to_the_limit_and_measured_to_its_end(
        self, opening: Open, spec: MakeSpec, init_body: InitBody
    ) -> None:
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), RecordedOutput())
            await post(container, "/init", init_body(Program.LONG))

            cut = await post(container, "/run", run_body(length=200_000), limit=1_000)
            whole = await post(container, "/run", run_body(length=10), limit=1_000)

        assert (len(cut.body), cut.truncated) == (1_000, True)
        assert cut.length >= 200_000
        assert (json.loads(whole.body), whole.truncated) == ({"text": "x" * 10}, False)

    @pytest.mark.asyncio
    async def test_a_request_that_takes_too_long_is_given_up_and_its_container_can_be_removed(
        self, opening: Open, spec: MakeSpec, init_body: InitBody, left: Left
    ) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)
            await post(container, "/init", init_body(Program.HANG))

            with pytest.raises(PostTimedOut) as caught:
                await post(container, "/run", run_body(), seconds=0.3)
            await container.remove()

            assert not await left()
        assert caught.value.seconds == 0.3
        assert output.closings == 1

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
    async def test_a_removed_container_can_not_be_reached(self, opening: Open, spec: MakeSpec) -> None:
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), RecordedOutput())

            await container.remove()

            with pytest.raises(Unreachable):
                await post(container, "/run", run_body())
            assert not (await container.inspect()).running

    @pytest.mark.asyncio
    async def test_removal_ends_a_request_in_flight(self, opening: Open, spec: MakeSpec, init_body: InitBody) -> None:
        output = RecordedOutput()
        async with opening() as runtime, asyncio.TaskGroup() as tasks:
            container = await runtime.create(spec("wsk_1"), output)
            await post(container, "/init", init_body(Program.HANG))
            request = tasks.create_task(_failure(post(container, "/run", run_body())))
            await output.says(b"here")

            await container.remove()

        assert isinstance(request.result(), Lost)

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
            start = asyncio.create_task(_failure(runtime.create(spec("wsk_1"), RecordedOutput())))
            for _ in range(turns):  # of the event loop: wherever the start has come by then
                await asyncio.sleep(0)

            start.cancel()
            created = await asyncio.gather(start, return_exceptions=True)

            if isinstance(created[0], asyncio.CancelledError):
                assert not await left()
                assert (await runtime.create(spec("wsk_1"), RecordedOutput())).name == "wsk_1"

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


async def _failure(work: Coroutine[Any, Any, object]) -> Exception | None:
    """Return what `work` raised."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 (any may come; the caller looks)
        return error
    return None
