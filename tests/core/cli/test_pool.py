"""`invoker pool`: every reason has words."""

import pytest

from invoker.cli.pool import START_REASONS, WAIT_REASONS
from invoker.pool import StartReason, WaitReason


@pytest.mark.parametrize("reason", StartReason)
def test_every_reason_of_a_start_has_words(reason: StartReason) -> None:
    assert START_REASONS[reason.value]


@pytest.mark.parametrize("reason", WaitReason)
def test_every_reason_of_a_wait_has_words(reason: WaitReason) -> None:
    assert WAIT_REASONS[reason.value]
