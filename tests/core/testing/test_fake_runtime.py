"""Fake containers pass the contract suite."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import pytest

from invoker.contracts import ContainerRuntime, Opening
from invoker.entities.container import ContainerSpec
from invoker.testing.container_runtime import ContainerRuntimeContract
from invoker.testing.containers import FakeRuntime
from tests.core.testing.programmed import a_spec, fake_runtime, programmed


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
    def pauses(self) -> bool:
        return True

    @pytest.fixture
    def sharing(self, spec: Callable[[str], ContainerSpec]) -> Callable[[str], ContainerSpec]:
        return spec

    @pytest.fixture
    def left(self, opened: list[FakeRuntime]) -> Callable[[], Awaitable[Collection[object]]]:
        async def running() -> Collection[object]:
            return [name for runtime in opened for name in runtime.running]

        return running
