"""Which messages a caller gets: the table of spec 2.4, and each at most once."""

import pytest

from invoker.entities.activation import Ack, Activation
from invoker.invocation.telling import Telling
from invoker.testing.builders import an_activation


class Heard:
    """Answers that remember what was said, and may fail to pass it on."""

    def __init__(self, *, splits: bool = True, broken: bool = False) -> None:
        self.splits = splits
        self.broken = broken
        self.said: list[str] = []

    async def accepted(self) -> None:
        self.hear("accepted")

    async def result(self, activation: Activation) -> None:
        self.hear("result")

    async def completed(self, activation: Activation, ack: Ack) -> None:
        self.hear(ack.value)

    def hear(self, word: str) -> None:
        self.said.append(word)
        if self.broken:
            raise ConnectionResetError("the caller is gone")


@pytest.mark.parametrize(
    ("blocking", "ran", "blocked", "ack"),
    [
        (True, True, False, "combined"),
        (False, True, False, "completion"),
        (True, False, False, "combined"),
        (False, False, False, "shrunk"),
        (True, False, True, "shrunk"),
        (False, False, True, "shrunk"),
    ],
)
async def test_one_message_frees_the_slot(blocking: bool, ran: bool, blocked: bool, ack: str) -> None:  # noqa: FBT001
    heard = Heard()

    await Telling(heard, blocking=blocking).complete(an_activation(), ran=ran, blocked=blocked)

    assert heard.said == [ack]


async def test_a_result_that_went_ahead_is_followed_by_a_completion() -> None:
    heard = Heard()
    telling = Telling(heard, blocking=True)

    await telling.result(an_activation())
    await telling.complete(an_activation(), ran=True, blocked=False)

    assert heard.said == ["result", "completion"]


async def test_the_slot_is_freed_once() -> None:
    heard = Heard()
    telling = Telling(heard, blocking=True)

    await telling.complete(an_activation(), ran=True, blocked=False)
    await telling.complete(an_activation(), ran=True, blocked=False)

    assert heard.said == ["combined"]


@pytest.mark.parametrize(
    ("blocking", "splits", "may"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_only_somebody_who_waits_and_can_hear_twice_is_told_early(blocking: bool, splits: bool, may: bool) -> None:  # noqa: FBT001
    assert Telling(Heard(splits=splits), blocking=blocking).may_split is may


async def test_a_caller_that_is_gone_changes_nothing() -> None:
    heard = Heard(broken=True)
    telling = Telling(heard, blocking=True)

    await telling.accepted("a1")
    await telling.result(an_activation())
    await telling.complete(an_activation(), ran=True, blocked=False)

    assert heard.said == ["accepted", "result", "completion"]
    assert telling.completed
