"""The transport contract, on both listeners, and on the way of a production: TLS, certificates, a password."""

import base64
from contextlib import AbstractAsyncContextManager

import pytest

from invoker.config import Secret
from invoker.contracts import Intake
from invoker.testing.transport import OpenTransport, Send, TransportContract
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
