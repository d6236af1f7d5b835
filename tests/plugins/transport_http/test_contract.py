"""The transport contract, as it comes, and on the way of a production: TLS, certificates, a password."""

import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from invoker.config import Secret, Settings
from invoker.contracts import Intake, Operations, Part
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations, OpenForOperators, OperatorsContract
from invoker.testing.transport import OpenTransport, Send, TransportContract
from invoker_http import open_transport
from invoker_http.transport import HttpTransport, opened
from tests.plugins.transport_http.caller import http, sending
from tests.plugins.transport_http.certificates import Certificates


class TestPlain(TransportContract):
    @pytest.fixture
    def open_transport(self) -> OpenTransport:
        return lambda intake: sending(intake, http())


class TestGuarded(TransportContract):
    @pytest.fixture
    def open_transport(self, certificates: Certificates) -> OpenTransport:
        tls = certificates.settings(ask_callers=True)
        settings = http(tls=tls, username="controller", password=Secret("p\u00e4ss:word"))
        token = base64.b64encode("controller:p\u00e4ss:word".encode()).decode()

        def opening(intake: Intake) -> AbstractAsyncContextManager[Send]:
            return sending(intake, settings, f"Authorization: Basic {token}", tls=certificates.client(certified=True))

        return opening


class TestOperators(OperatorsContract):
    @pytest.fixture
    def open_for_operators(self) -> OpenForOperators:
        @asynccontextmanager
        async def opening(operations: Operations) -> AsyncIterator[str]:
            async with opened(Settings.of(http(admin="127.0.0.1:0")), FakeIntake(), operations) as transport:
                assert transport.operators_url is not None
                yield transport.operators_url

        return opening


async def test_what_is_opened_is_a_part_and_operators_may_be_left_out() -> None:
    async with open_transport(Settings.of(http(admin="")), FakeIntake(), FakeOperations()) as part:
        assert isinstance(part, HttpTransport)
        assert isinstance(part, Part)
        assert part.operators_url is None
        assert not part.faults()
