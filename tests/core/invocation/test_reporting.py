"""What is recorded of an activation, and who sees it (spec 8.5)."""

from typing import Any

import pytest

from invoker.config import RecordingSettings
from invoker.entities.activation import Activation
from invoker.entities.request import CallerLimits
from invoker.testing.builders import a_caller, a_ref, a_request, a_transaction
from invoker.testing.containers import FakeRuntime
from tests.core.invocation.line import HELLO, a_line


async def test_an_observer_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Activation] = []

    def observe(activation: Activation) -> None:
        seen.append(activation)
        raise LookupError("in the observer")

    async with a_line(FakeRuntime(), HELLO, observers=observe) as line:
        heard = await line.invoke(a_request(HELLO))

    assert seen == [heard.activation]
    assert "in the observer" in caplog.text


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({}, True),
        ({"caller": a_caller(limits=CallerLimits(store_activations=False))}, False),
    ],
)
async def test_the_storage_rule_decides_what_is_recorded(changes: dict[str, Any], stored: bool) -> None:  # noqa: FBT001
    """Spec 8.5, T70."""
    async with a_line(FakeRuntime(), HELLO) as line:
        await line.invoke(a_request(HELLO, **changes))

        assert bool(line.records) is stored


async def test_failures_alone_are_recorded_when_the_level_says_so_unless_logging_is_extra() -> None:
    settings = RecordingSettings(store_blocking="failures")
    async with a_line(FakeRuntime(), HELLO, recording=settings) as line:
        await line.invoke(a_request(HELLO))
        await line.invoke(a_request(HELLO, transaction=a_transaction(extra_logging=True)))
        await line.invoke(a_request(a_ref(name="gone", path="guest", revision="1-a")))

        assert [one.name for one in line.records] == ["hello", "gone"]
