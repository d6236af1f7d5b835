"""The suite notices runtimes that are wrong: each of these breaks one promise."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest

from invoker.contracts import Output
from invoker.entities.container import ContainerSpec, ContainerState, Reply
from invoker.errors import ContainerError
from invoker.testing.container_requests import starting
from invoker.testing.container_runtime import ContainerRuntimeContract
from invoker.testing.containers import FakeContainer, FakeRuntime
from invoker.testing.programs import init_body
from tests.core.testing.programmed import a_spec, programmed


class UnpausableContainer(FakeContainer):
    pausable = False


class GoesOn(FakeContainer):
    async def pause(self) -> None:
        """Say so, and do nothing."""

    async def resume(self) -> None:
        """Say so, and do nothing."""


class SeemsDead(FakeContainer):
    async def inspect(self) -> ContainerState:
        return ContainerState(running=not self.paused)


class MustBeResumed(FakeContainer):
    async def remove(self) -> None:
        if not self.paused:
            await super().remove()


class ForgetsToAnswer(FakeContainer):
    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        answer = await super().post(path, body, timeout=timeout, limit=limit)
        return msgspec.structs.replace(answer, body=b"{}") if self.pauses else answer


class ResumesTheDead(FakeContainer):
    async def resume(self) -> None:
        if (await self.inspect()).running:
            await super().resume()


class ServesOne(FakeContainer):
    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        if self.in_flight:
            raise ContainerError("one at a time")
        return await super().post(path, body, timeout=timeout, limit=limit)


class CutsReplies(FakeContainer):
    async def post(self, path: str, body: bytes, *, timeout: float, limit: int) -> Reply:  # noqa: ASYNC109
        return await super().post(path, body, timeout=timeout, limit=min(limit, 1 << 20))


class HasNoEnvironment(FakeContainer):
    def __init__(self, spec: ContainerSpec, *others: Any) -> None:
        super().__init__(msgspec.structs.replace(spec, environment={}), *others)


class WrongRuntime(FakeRuntime):
    def __init__(self, wrong: type[FakeContainer]) -> None:
        super().__init__(programmed())
        self._wrong = wrong

    async def create(self, spec: ContainerSpec, output: Output) -> FakeContainer:
        container = self._wrong(spec, output, self.script, self._forget)
        self.running[spec.name] = container
        return container


def opening(runtime: FakeRuntime) -> Callable[[], AbstractAsyncContextManager[FakeRuntime]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[FakeRuntime]:
        yield runtime
        for container in list(runtime.running.values()):
            await container.remove()

    return opened


def left(runtime: FakeRuntime) -> Callable[[], Awaitable[Collection[object]]]:
    async def running() -> Collection[object]:
        return list(runtime.running)

    return running


def fixtures(runtime: FakeRuntime, *, pauses: bool) -> dict[str, Any]:
    """What a test may ask for."""
    return {
        "opening": opening(runtime),
        "spec": a_spec,
        "init_body": init_body,
        "start": starting(a_spec, init_body),
        "left": left(runtime),
        "pauses": pauses,
        "sharing": a_spec,
    }


async def notices(wrong: type[FakeContainer], test: str, *, pauses: bool = True) -> bool:
    method = getattr(ContainerRuntimeContract(), test)
    given = fixtures(WrongRuntime(wrong), pauses=pauses)
    wanted = method.__code__.co_varnames[1 : method.__code__.co_argcount + method.__code__.co_kwonlyargcount]
    try:
        await method(**{name: given[name] for name in wanted})
    except (AssertionError, ContainerError, pytest.fail.Exception):
        return True
    return False


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (GoesOn, "test_a_paused_container_stands_still"),
        (GoesOn, "test_what_is_gone_can_be_neither_paused_nor_resumed"),
        (ResumesTheDead, "test_what_is_gone_can_be_neither_paused_nor_resumed"),
        (SeemsDead, "test_a_paused_container_has_not_ended"),
        (MustBeResumed, "test_a_paused_container_can_be_removed"),
        (MustBeResumed, "test_leaving_the_runtime_removes_paused_containers"),
        (ForgetsToAnswer, "test_a_container_goes_on_after_each_pause"),
        (UnpausableContainer, "test_a_container_can_be_paused_if_and_only_if_the_suite_is_told_so"),
        (ServesOne, "test_several_requests_are_in_flight_at_once"),
        (CutsReplies, "test_a_long_reply_comes_whole"),
        (HasNoEnvironment, "test_the_environment_that_was_asked_for_is_there"),
    ],
)
async def test_a_wrong_runtime_is_noticed(wrong: type[FakeContainer], test: str) -> None:
    async with asyncio.timeout(10):
        assert await notices(wrong, test)
        assert not await notices(FakeContainer, test)


async def test_a_runtime_that_pauses_unasked_is_noticed() -> None:
    test = "test_a_container_can_be_paused_if_and_only_if_the_suite_is_told_so"

    assert await notices(FakeContainer, test, pauses=False)
    assert not await notices(UnpausableContainer, test, pauses=False)
