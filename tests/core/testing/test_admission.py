"""The fake admission passes the contract."""

import pytest

from invoker.entities.request import Request
from invoker.testing.admission import AdmissionContract, BlockedNamespaces
from invoker.testing.builders import a_caller, a_request


class TestBlockedNamespaces(AdmissionContract):
    @pytest.fixture
    def admission(self) -> BlockedNamespaces:
        return BlockedNamespaces("blocked")

    @pytest.fixture
    def refused(self) -> Request:
        return a_request(caller=a_caller(namespace="blocked"))

    @pytest.fixture
    def passed(self) -> Request:
        return a_request(caller=a_caller(namespace="blocked-not"))
