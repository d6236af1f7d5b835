"""What every container that can be paused must do, and what those say that can't."""

import asyncio
import json
import time
from typing import Final

import pytest

from invoker.contracts import Container, ContainerRuntime
from invoker.entities.container import ContainerSpec
from invoker.errors import ContainerError
from invoker.testing.container_requests import InitBody, Left, MakeSpec, Open, failure_of, post
from invoker.testing.containers import RecordedOutput
from invoker.testing.programs import TICK_SECONDS, Program, run_body

_LONG: Final = 300
"""Ticks of a container that runs, while another stands."""


async def _loaded(runtime: ContainerRuntime, spec: ContainerSpec, init: bytes) -> Container:
    container = await runtime.create(spec, RecordedOutput())
    assert container.pausable, "`pauses` says that it can be paused"
    await post(container, "/init", init)
    return container


async def _ticks(container: Container) -> int:
    reply = await post(container, "/run", run_body())
    return int(json.loads(reply.body)["ticks"])


class ContainerPauseContract:
    """The part of `ContainerRuntimeContract` that is about pausing; see there."""

    @pytest.fixture
    def pausing(self, *, pauses: bool) -> None:
        """Skip what is about pausing where there is none, which a test of its own makes sure of."""
        if not pauses:
            pytest.skip("this runtime doesn't pause containers")

    @pytest.mark.asyncio
    async def test_a_container_can_be_paused_if_and_only_if_the_suite_is_told_so(
        self, opening: Open, spec: MakeSpec, *, pauses: bool
    ) -> None:
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), RecordedOutput())

            assert container.pausable == pauses

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("pausing")
    async def test_a_paused_container_stands_still(self, opening: Open, spec: MakeSpec, init_body: InitBody) -> None:
        async with opening() as runtime:
            container = await _loaded(runtime, spec("wsk_1"), init_body(Program.TICK))
            other = await _loaded(runtime, spec("wsk_2"), init_body(Program.TICK))
            begun, before = time.monotonic(), await _ticks(container)

            await container.pause()
            paused, until = time.monotonic(), await _ticks(other) + _LONG
            while await _ticks(other) < until:
                pass
            stood = time.monotonic() - paused
            await container.resume()

            after = await _ticks(container)
            ran = time.monotonic() - begun - stood
        assert 0 <= after - before <= ran / TICK_SECONDS + 1, f"it went on in the {stood:.3f} s of its pause"

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("pausing")
    async def test_a_container_goes_on_after_each_pause(
        self, opening: Open, spec: MakeSpec, init_body: InitBody
    ) -> None:
        async with opening() as runtime:
            container = await _loaded(runtime, spec("wsk_1"), init_body(Program.ECHO))
            answers = []

            for turn in range(3):
                await container.pause()
                await container.resume()
                answers.append(json.loads((await post(container, "/run", run_body(turn=turn))).body))

        assert answers == [{"turn": turn} for turn in range(3)]

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("pausing")
    async def test_a_paused_container_has_not_ended(self, opening: Open, spec: MakeSpec, init_body: InitBody) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)
            await post(container, "/init", init_body(Program.ECHO))

            await container.pause()

            assert (await container.inspect()).running
            assert output.closings == 0

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("pausing")
    async def test_a_paused_container_can_be_removed(
        self, opening: Open, spec: MakeSpec, init_body: InitBody, left: Left
    ) -> None:
        output = RecordedOutput()
        async with opening() as runtime:
            container = await runtime.create(spec("wsk_1"), output)
            await post(container, "/init", init_body(Program.ECHO))
            await container.pause()

            await container.remove()

            assert not await left()
            assert not (await container.inspect()).running
        assert output.closings == 1

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("pausing")
    async def test_a_container_can_be_removed_while_it_is_being_paused(
        self, opening: Open, spec: MakeSpec, init_body: InitBody, left: Left
    ) -> None:
        async with opening() as runtime:
            container = await _loaded(runtime, spec("wsk_1"), init_body(Program.ECHO))

            pausing, _ = await asyncio.gather(failure_of(container.pause()), container.remove())

            assert pausing is None or isinstance(pausing, ContainerError)
            assert not await left()

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("pausing")
    async def test_what_is_gone_can_be_neither_paused_nor_resumed(
        self, opening: Open, spec: MakeSpec, init_body: InitBody
    ) -> None:
        async with opening() as runtime:
            never_paused = await _loaded(runtime, spec("wsk_1"), init_body(Program.ECHO))
            paused = await _loaded(runtime, spec("wsk_2"), init_body(Program.ECHO))
            await paused.pause()
            await asyncio.gather(never_paused.remove(), paused.remove())

            with pytest.raises(ContainerError):
                await never_paused.pause()
            with pytest.raises(ContainerError):
                await paused.resume()

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("pausing")
    async def test_leaving_the_runtime_removes_paused_containers(
        self, opening: Open, spec: MakeSpec, init_body: InitBody, left: Left
    ) -> None:
        async with opening() as runtime:
            for number in range(3):
                await (await _loaded(runtime, spec(f"wsk_{number}"), init_body(Program.ECHO))).pause()

        assert not await left()
