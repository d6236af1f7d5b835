"""The contract of whoever turns messages away."""

import inspect

import pytest

from invoker.contracts import Admission
from invoker.entities.request import Request
from invoker.plugins import check_contract
from invoker.testing.builders import a_request


class AdmissionContract:
    """What every admission must do: `class TestMine(AdmissionContract)`.

    Fixtures to provide:
        admission: a ready one.
        refused: a request that it turns away.
        passed: a request that it lets in.
    """

    def test_it_has_what_the_contract_asks_for(self, admission: Admission) -> None:
        check_contract("yours", "open_admission", Admission, admission)

    def test_a_refusal_is_a_text_for_the_caller(self, admission: Admission, refused: Request) -> None:
        reason = admission.refusal(refused)

        assert isinstance(reason, str)
        assert reason

    def test_what_may_pass_gets_no_text(self, admission: Admission, passed: Request) -> None:
        assert admission.refusal(passed) is None

    def test_the_answer_is_the_same_when_asked_again(
        self, admission: Admission, refused: Request, passed: Request
    ) -> None:
        assert admission.refusal(refused) == admission.refusal(refused)
        assert admission.refusal(passed) is None

    def test_it_never_waits(self, admission: Admission, refused: Request) -> None:
        answer: object = admission.refusal(refused)

        if inspect.iscoroutine(answer):
            answer.close()
        assert not inspect.isawaitable(answer)

    @pytest.mark.parametrize("content", [None, b"[]", b'{"x":"\\ud800"}'])
    def test_whatever_the_arguments_it_raises_nothing(self, admission: Admission, content: bytes | None) -> None:
        reason = admission.refusal(a_request(content=content))

        assert reason is None or isinstance(reason, str)


class BlockedNamespaces(Admission):
    """An admission that refuses the namespaces it is given."""

    def __init__(self, *namespaces: str) -> None:
        self._namespaces = frozenset(namespaces)

    def refusal(self, request: Request) -> str | None:
        """See `Admission.refusal`."""
        if request.caller.namespace in self._namespaces:
            return "The action was not invoked due to a blacklisted namespace."
        return None
