"""The contract of whoever sees activations as they end."""

import copy
import inspect

import pytest

from invoker.contracts import Observer
from invoker.entities.activation import Activation, Status
from invoker.plugins import check_contract
from invoker.testing.activation_store import HARD_JSON
from invoker.testing.builders import a_ref, a_request, an_activation, an_outcome

ACTIVATIONS = (
    an_activation(),
    an_activation(outcome=an_outcome(b'{"error":null}', Status.WHISK_ERROR), kind="unknown", limits=None),
    an_activation(
        path=f"guest/a b@c.d&e-f/{'n' * 256}",
        name="n" * 256,
        outcome=an_outcome(HARD_JSON[0]),
        logs=("%s {} \ud800",),
        init_time=0,
        wait_time=-3,
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

        if inspect.iscoroutine(seen):
            seen.close()
        assert seen is None

    @pytest.mark.asyncio
    async def test_it_changes_nothing(self, observer: Observer) -> None:
        request, activation = a_request(locked={"token": "aes-128"}), an_activation(logs=("hello",))
        before = copy.deepcopy((request, activation))

        for _ in range(100):
            observer.finished(request, activation)

        assert (request, activation) == before
