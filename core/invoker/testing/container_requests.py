"""What every container must do with requests, and with what its programs print."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, Final, TypeAlias

import msgspec
import pytest

from invoker.contracts import Container, ContainerRuntime, Opening
from invoker.entities.container import ContainerSpec, Reply, Stream
from invoker.errors import Lost, PostTimedOut, Unreachable
from invoker.testing.containers import RecordedOutput
from invoker.testing.programs import MEET, Program, code_body, run_body

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


async def failure_of(work: Coroutine[Any, Any, object]) -> Exception | None:
    """Return what `work` raised."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 (any may come; the caller looks)
        return error
    return None


class CountedOutput:
    """An `Output` that counts what comes, and remembers none of it."""

    def __init__(self) -> None:
        self.counts = {Stream.STDOUT: 0, Stream.STDERR: 0}
        self._changed = asyncio.Event()

    def write(self, stream: Stream, chunk: bytes) -> None:
        """See `Output`."""
        self.counts[stream] += len(chunk)
        self._changed.set()

    def closed(self) -> None:
        """See `Output`."""

    async def reaches(self, count: int) -> None:
        """Wait until so many bytes of stdout have come."""
        async with asyncio.timeout(PATIENCE):
            while self.counts[Stream.STDOUT] < count:
                self._changed.clear()
                await self._changed.wait()


class ContainerRequestsContract:
    """The part of `ContainerRuntimeContract` that is about requests, replies and output; see there."""

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

            found = await post(container, "/run", run_body(names=list(wanted)))
            absent = await post(other, "/run", run_body(names=list(wanted)))

        assert json.loads(found.body) == wanted
        assert json.loads(absent.body) == {name: spec("wsk_2").environment.get(name) for name in wanted}

    @pytest.mark.asyncio
    async def test_a_long_reply_comes_whole(self, opening: Open, spec: MakeSpec, init_body: InitBody) -> None:
        length = 3 << 20  # more than any connection holds: it comes in many pieces
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), RecordedOutput())
            await post(container, "/init", init_body(Program.LONG))

            reply = await post(container, "/run", run_body(length=length), limit=4 << 20)

        assert not reply.truncated
        assert json.loads(reply.body) == {"text": "x" * length}

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
    async def test_several_requests_are_in_flight_at_once(self, opening: Open, sharing: MakeSpec | None) -> None:
        if sharing is None:
            pytest.skip("there is no action proxy here that serves several requests at once")
        async with opening() as runtime:
            container = await runtime.create(sharing("wsk_1"), RecordedOutput())
            await post(container, "/init", code_body(MEET))

            meetings = [
                await asyncio.gather(*(post(container, "/run", run_body()) for _ in range(count)))
                for count in (2, 4, 2)
            ]

        turns = [sorted(json.loads(reply.body)["turn"] for reply in replies) for replies in meetings]
        assert turns == [[1, 2], [1, 1, 2, 2], [1, 2]]

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
            request = tasks.create_task(failure_of(post(container, "/run", run_body())))
            await output.says(b"here")

            await container.remove()

        assert isinstance(request.result(), Lost)

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
    async def test_ten_megabytes_of_output_hold_nothing_up(
        self, opening: Open, spec: MakeSpec, init_body: InitBody
    ) -> None:
        output = CountedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)
            await post(container, "/init", init_body(Program.FLOOD))

            reply = await post(container, "/run", run_body(lines=100_000))
            await output.reaches(10_000_000)
            again = await post(container, "/run", run_body(lines=1))

        assert [json.loads(each.body) for each in (reply, again)] == [{"lines": 100_000}, {"lines": 1}]

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
