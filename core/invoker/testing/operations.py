"""What operators ask: operations that know nothing, and what every door for operators must do."""

import asyncio
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import urlsplit

import pytest

from invoker.contracts import Operations, OperatorDoor


class FakeOperations:
    """See `contracts.Operations`. A test may change what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        """The faults."""
        self.containers: list[Mapping[str, object]] = [{"name": "one", "state": "idle", "age": 0.5, "reason": None}]

    def faults(self) -> Sequence[str]:
        """See `Operations.faults`."""
        return self.told

    def metrics(self) -> bytes:
        """See `Operations.metrics`."""
        return b"# HELP up Whether it is\n# TYPE up gauge\nup 1.0\n"

    def info(self) -> Mapping[str, object]:
        """See `Operations.info`."""
        return {"name": "invoker0", "memory": {"total": 1}}

    def pool(self) -> Mapping[str, object]:
        """See `Operations.pool`."""
        return {"memory": 1, "containers": self.containers}


OpenDoor: TypeAlias = Callable[[Operations], AbstractAsyncContextManager[object]]
"""How a transport is opened for operators; it yields what the hook's opening yields."""


class OperatorDoorContract:
    """What a transport must do that has a door for operators: `class TestMine(OperatorDoorContract)`.

    Fixtures to provide:
        open_door: opens the transport on operations, `async with open_door(operations) as door`.
    """

    @pytest.mark.asyncio
    async def test_it_tells_where_it_is(self, open_door: OpenDoor) -> None:
        async with open_door(FakeOperations()) as door:
            assert isinstance(door, OperatorDoor)
            assert door.operators is not None
            assert urlsplit(door.operators).port

    @pytest.mark.asyncio
    async def test_the_pool_is_told_as_json(self, open_door: OpenDoor) -> None:
        operations = FakeOperations()

        async with open_door(operations) as door:
            first = await _asked(door)
            operations.containers.clear()
            second = await _asked(door)

        assert first == {"memory": 1, "containers": FakeOperations().containers}
        assert second == {"memory": 1, "containers": []}


async def _asked(door: object) -> object:
    assert isinstance(door, OperatorDoor)
    assert door.operators is not None
    return await asyncio.to_thread(_get, door.operators)


def _get(url: str) -> object:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/pool")
        answer = connection.getresponse()
        assert answer.status == HTTPStatus.OK
        return json.loads(answer.read())
    finally:
        connection.close()
