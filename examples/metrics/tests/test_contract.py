"""The observer does what the invoker expects of every observer, and what its README says."""

import pytest
from invoker_example_metrics import Busiest, open_observer

from invoker.contracts import Observer
from invoker.testing.builders import a_request, an_activation
from invoker.testing.observer import ObserverContract


class TestBusiest(ObserverContract):
    @pytest.fixture
    def observer(self) -> Observer:
        return Busiest()


async def test_the_busiest_are_told_when_the_invoker_stops(caplog: pytest.LogCaptureFixture) -> None:
    async with open_observer() as observer:
        for path in ("guest/a", "guest/b", "guest/b"):
            observer.finished(a_request(), an_activation(path=path))

        assert [family.samples for family in observer.metrics()] == [[({}, 2)]]

    assert caplog.messages == ["     2  /guest/b", "     1  /guest/a"]
