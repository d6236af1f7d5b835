"""The transport contract, on both listeners, and on the way of a production: TLS, certificates, a password."""

import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from invoker.config import Secret, Settings
from invoker.contracts import Intake, Operations
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations, OpenDoor, OperatorDoorContract
from invoker.testing.transport import OpenTransport, Send, TransportContract
from invoker_http import open_transport
from tests.plugins.transport_http.caller import http, transport
from tests.plugins.transport_http.certificates import Certificates


class TestPlain(TransportContract):
    @pytest.fixture
    def open_transport(self, listener: str) -> OpenTransport:
        return lambda intake: transport(intake, http(listener=listener))


class TestGuarded(TransportContract):
    @pytest.fixture
    def open_transport(self, listener: str, certificates: Certificates) -> OpenTransport:
        settings = http(
            listener=listener,
            tls=certificates.settings(ask_callers=True),
            username="controller",
            password=Secret("p\u00e4ss:word"),
        )
        token = base64.b64encode("controller:p\u00e4ss:word".encode()).decode()

        def opening(intake: Intake) -> AbstractAsyncContextManager[Send]:
            tls = certificates.client(certified=True)
            return transport(intake, settings, f"Authorization: Basic {token}", tls=tls)

        return opening


class TestOperatorDoor(OperatorDoorContract):
    @pytest.fixture
    def open_door(self) -> OpenDoor:
        @asynccontextmanager
        async def opening(operations: Operations) -> AsyncIterator[object]:
            async with open_transport(Settings.of(http(admin="127.0.0.1:0")), FakeIntake(), operations) as door:
                yield door

        return opening


async def test_without_an_address_for_operators_there_is_no_door_for_them() -> None:
    async with open_transport(Settings.of(http(admin="")), FakeIntake(), FakeOperations()) as door:
        assert door.operators is None
