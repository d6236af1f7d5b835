"""The contract of whoever sees activations as they end."""

import inspect

import msgspec
import pytest

from invoker.contracts import Observer
from invoker.entities.activation import Activation, Status
from invoker.plugins import check_contract
from invoker.testing.builders import a_ref, a_request, an_activation, an_outcome

ACTIVATIONS = (
    an_activation(),
    an_activation(outcome=an_outcome(b'{"error":null}', Status.WHISK_ERROR), kind="unknown", limits=None),
    an_activation(
        path="guest/p\u00e4ck/n a%20me", name="n a%20me", logs=("%s {} \ud800",), init_time=0, wait_time=None
    ),
)


class ObserverContract:
    """What every observer must do: `class TestMine(ObserverContract)`.

    Fixtures to provide:
        observer: a ready one.
    """

    def test_it_has_what_the_contract_asks_for(self, observer: Observer) -> None:
        check_contract("yours", "open_observer", Observer, observer)

    @pytest.mark.parametrize("activation", ACTIVATIONS, ids=["success", "never started", "odd"])
    @pytest.mark.asyncio
    async def test_it_sees_whatever_ends_and_raises_nothing(self, observer: Observer, activation: Activation) -> None:
        request = a_request(a_ref(), activation_id=activation.activation_id, blocking=False)

        seen: object = observer.finished(request, activation)

        assert seen is None
        assert not inspect.isawaitable(seen)

    @pytest.mark.asyncio
    async def test_it_changes_nothing(self, observer: Observer) -> None:
        request, activation = a_request(), an_activation()
        before = msgspec.structs.asdict(request), msgspec.structs.asdict(activation)

        for _ in range(100):
            observer.finished(request, activation)

        assert (msgspec.structs.asdict(request), msgspec.structs.asdict(activation)) == before
