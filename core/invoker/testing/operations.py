"""What operators ask: operations that know nothing, and what every transport must do that serves operators."""

import asyncio
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import urlsplit

import pytest

from invoker.contracts import Operations


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


OpenForOperators: TypeAlias = Callable[[Operations], AbstractAsyncContextManager[str]]
"""How a transport is opened for operators; it yields the URL at which they are served."""


@pytest.mark.asyncio
class OperatorsContract:
    """What a transport must do that serves operators: `class TestMine(OperatorsContract)`.

    Fixtures to provide:
        open_for_operators: opens the transport on operations, `async with open_for_operators(operations) as url`.
    """

    async def test_the_pool_is_told_as_json(self, open_for_operators: OpenForOperators) -> None:
        operations = FakeOperations()

        async with open_for_operators(operations) as url:
            first = await asyncio.to_thread(_get, url, "pool")
            operations.containers.clear()
            second = await asyncio.to_thread(_get, url, "pool")

        assert first == {"memory": 1, "containers": FakeOperations().containers}
        assert second == {"memory": 1, "containers": []}

    async def test_who_it_is_is_told_as_json(self, open_for_operators: OpenForOperators) -> None:
        async with open_for_operators(FakeOperations()) as url:
            assert await asyncio.to_thread(_get, url, "info") == FakeOperations().info()


def _get(url: str, page: str) -> object:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/{page}")
        answer = connection.getresponse()
        assert answer.status == HTTPStatus.OK
        return json.loads(answer.read())
    finally:
        connection.close()
