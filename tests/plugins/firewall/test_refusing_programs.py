"""Programs that refuse a change now and then: another program was at the table at the same time."""

import pytest

from invoker_firewall.programs import FilterFailed, Programs
from tests.plugins.firewall.filters import rules, up

pytestmark = pytest.mark.usefixtures("kind")


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Reasons for which the next changes are refused, one each."""
    reasons: list[str] = []
    real = Programs.apply

    async def apply(programs: Programs, transaction: str) -> None:
        if reasons:
            raise FilterFailed(programs.restore, reasons.pop())
        await real(programs, transaction)

    monkeypatch.setattr(Programs, "apply", apply)
    return reasons


def ours() -> list[str]:
    return [line for program in ("iptables", "ip6tables") for line in rules(program) if "FUNCTIONS-INVOKER" in line]


async def test_a_change_that_is_refused_is_tried_again(refusals: list[str]) -> None:
    refusals += ["line 4 failed"] * 2

    async with up(required=True):
        assert ours()
        refusals += ["line 5 failed"] * 2

    assert (ours(), refusals) == ([], [])


async def test_rules_that_can_t_be_taken_away_are_named_and_end_nothing(
    refusals: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with up(required=True):
        put = ours()
        refusals += ["line 6 failed"] * 100

    left = ours()
    refusals.clear()
    async with up():  # the next life takes them over
        assert ours() == put
    assert left == put
    assert ours() == []
    told = [message for message in caplog.messages if message.startswith("chains FUNCTIONS-INVOKER-")]
    assert len(told) == 4  # two families, two tables
    assert all("are left behind: " in message and "line 6 failed" in message for message in told)
