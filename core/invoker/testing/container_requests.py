"""What every container must do with requests, and with what its programs print."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeAlias

import msgspec
import pytest

from invoker.contracts import Container, ContainerRuntime, Opening, Output
from invoker.entities.container import ContainerSpec, Reply, Stream
from invoker.errors import Lost, PostTimedOut, Unreachable
from invoker.testing.containers import PATIENCE, RecordedOutput
from invoker.testing.programs import MEET, Program, code_body, run_body

Open: TypeAlias = Callable[[], Opening[ContainerRuntime]]
MakeSpec: TypeAlias = Callable[[str], ContainerSpec]
InitBody: TypeAlias = Callable[[Program], bytes]
Left: TypeAlias = Callable[[], Awaitable[Collection[object]]]
Start: TypeAlias = Callable[..., Awaitable[Container]]
"""Creates a container that has taken a program: `await start(runtime, Program.ECHO, output, name="wsk_1")`."""


def starting(spec: MakeSpec, init_body: InitBody) -> Start:
    """Return what starts containers of this specification."""

    async def start(
        runtime: ContainerRuntime, program: Program, output: Output | None = None, *, name: str = "wsk_1"
    ) -> Container:
        container = await runtime.create(spec(name), output or RecordedOutput())
        assert (await post(container, "/init", init_body(program))).status == 200
        return container

    return start


async def post(
    container: Container, path: str, body: bytes, *, seconds: float = PATIENCE, limit: int = 1 << 20
) -> Reply:
    """Post with enough of everything."""
    return await container.post(path, body, timeout=seconds, limit=limit)


async def answer(container: Container, **arguments: object) -> Any:
    """Return what the program answers to these arguments."""
    return json.loads((await post(container, "/run", run_body(**arguments))).body)


async def failure_of(work: Coroutine[Any, Any, object]) -> Exception | None:
    """Return what `work` raised."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 (any may come; the caller looks)
        return error
    return None


class ContainerRequestsContract:
    """The part of `ContainerRuntimeContract` that is about requests, replies and output; see there."""

    async def test_a_container_takes_init_and_run(self, opening: Open, start: Start) -> None:
        async with opening() as runtime:
            container = await start(runtime, Program.ECHO)

            first = await post(container, "/run", run_body(greeting="héllo"))
            second = await post(container, "/run", run_body(n=2))

        assert first.status == second.status == 200
        assert json.loads(first.body) == {"greeting": "héllo"}
        assert json.loads(second.body) == {"n": 2}
        assert first.length == len(first.body)

    async def test_the_environment_that_was_asked_for_is_there(
        self, opening: Open, spec: MakeSpec, init_body: InitBody
    ) -> None:
        wanted = {"__OW_API_HOST": "https://api.example.org:443", "__OW_ALLOW_CONCURRENT": "true", "A_B": "hé $'\" =%"}
        async with opening() as runtime:
            asked = msgspec.structs.replace(spec("wsk_1"), environment=wanted)
            container = await runtime.create(asked, RecordedOutput())
            other = await runtime.create(spec("wsk_2"), RecordedOutput())
            for one in (container, other):
                await post(one, "/init", init_body(Program.ENVIRON))

            found, absent = [await answer(one, names=list(wanted)) for one in (container, other)]

        assert found == wanted
        assert absent == {name: spec("wsk_2").environment.get(name) for name in wanted}

    async def test_a_long_reply_comes_whole(self, opening: Open, start: Start) -> None:
        length = 3 << 20  # more than any connection holds: it comes in many pieces
        async with opening() as runtime:
            container = await start(runtime, Program.LONG)

            reply = await post(container, "/run", run_body(length=length), limit=4 << 20)

        assert not reply.truncated
        assert json.loads(reply.body) == {"text": "x" * length}

    async def test_a_reply_is_kept_up_to_the_limit_and_measured_to_its_end(self, opening: Open, start: Start) -> None:
        async with opening() as runtime:
            container = await start(runtime, Program.LONG)

            cut = await post(container, "/run", run_body(length=200_000), limit=1_000)
            whole = await post(container, "/run", run_body(length=10), limit=1_000)

        assert (len(cut.body), cut.truncated) == (1_000, True)
        assert cut.length >= 200_000
        assert (json.loads(whole.body), whole.truncated) == ({"text": "x" * 10}, False)

    async def test_several_requests_are_in_flight_at_once(self, opening: Open, sharing: MakeSpec | None) -> None:
        if sharing is None:
            pytest.skip("there is no action proxy here that serves several requests at once")
        async with opening() as runtime:
            container = await runtime.create(sharing("wsk_1"), RecordedOutput())
            await post(container, "/init", code_body(MEET))

            meetings = [await asyncio.gather(*(answer(container) for _ in range(count))) for count in (2, 4, 2)]

        turns = [sorted(each["turn"] for each in answers) for answers in meetings]
        assert turns == [[1, 2], [1, 1, 2, 2], [1, 2]]

    async def test_a_request_that_takes_too_long_is_given_up_and_its_container_can_be_removed(
        self, opening: Open, start: Start, left: Left
    ) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await start(runtime, Program.HANG, output)

            with pytest.raises(PostTimedOut) as caught:
                await post(container, "/run", run_body(), seconds=0.3)
            await container.remove()

            assert not await left()
        assert caught.value.seconds == 0.3
        assert output.closings == 1

    async def test_a_removed_container_can_not_be_reached(self, opening: Open, spec: MakeSpec) -> None:
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), RecordedOutput())

            await container.remove()

            with pytest.raises(Unreachable):
                await answer(container)
            assert not (await container.inspect()).running

    async def test_removal_ends_a_request_in_flight(self, opening: Open, start: Start) -> None:
        output = RecordedOutput()
        async with opening() as runtime, asyncio.TaskGroup() as tasks:
            container = await start(runtime, Program.HANG, output)
            request = tasks.create_task(failure_of(answer(container)))
            await output.says(b"here")

            await container.remove()

        assert isinstance(request.result(), Lost)

    async def test_output_comes_from_the_first_byte_to_the_last(self, opening: Open, start: Start) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await start(runtime, Program.SAY, output)

            await answer(container, text="from run")
            await output.says(b"from run\n")
            await container.remove()

        assert output.written[Stream.STDOUT].startswith(b"from init\nfrom run\n")

    async def test_ten_megabytes_of_output_hold_nothing_up(self, opening: Open, start: Start) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await start(runtime, Program.FLOOD, output)

            first = await answer(container, lines=100_000)
            await output.reaches(10_000_000)
            second = await answer(container, lines=1)

        assert [first, second] == [{"lines": 100_000}, {"lines": 1}]

    async def test_output_ends_once(self, opening: Open, spec: MakeSpec) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)
            before = output.closings

            await container.remove()
            await output.ends()
            await container.remove()

        assert (before, output.closings) == (0, 1)
