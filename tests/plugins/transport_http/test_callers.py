"""What callers say of their messages, how they are told, and what they see of a core that breaks its word."""

import asyncio
import json
from http import HTTPStatus

import pytest

from invoker.contracts import Admitted, Answers
from invoker.testing.builders import an_activation, an_id
from invoker.testing.intake import FakeIntake
from invoker.testing.transport import a_message
from tests.plugins.transport_http.caller import calling, get, http, listening, post


async def test_what_callers_say_of_their_message_goes_along_for_the_log(listener: str) -> None:
    intake = FakeIntake()
    said = (
        "Functions-Activation-Id: 3f2a9c5d7e1b48068a4d2c6e90b1f735",
        "functions-namespace: zo\u00e9\t\u202e\u0085[31m",
        "FUNCTIONS-FUNCTION: " + "\u20ac" * 1000,
        "X-Functions-Other: nothing",
        "Functions: nothing",
    )

    async with listening(intake, http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(a_message(), *said))
        await caller.ask(post(a_message()))

    assert got.status == HTTPStatus.OK
    assert [(each.via, dict(each.context)) for each in intake.admitted] == [
        (
            "http",
            {
                "Functions-Activation-Id": "3f2a9c5d7e1b48068a4d2c6e90b1f735",
                "Functions-Namespace": "zo\u00e9[31m",
                "Functions-Function": "\u20ac" * 256,
            },
        ),
        ("http", {}),
    ]


@pytest.mark.parametrize(
    ("identity", "present"),
    [("both", {"instance", "invoker"}), ("instance", {"instance"}), ("invoker", {"invoker"})],
)
async def test_acknowledgements_spell_the_invoker_as_its_controller_reads_it(
    listener: str, identity: str, present: set[str]
) -> None:
    async with (
        listening(FakeIntake(), http(listener=listener, ack_identity=identity)) as url,
        calling(url) as caller,
    ):
        answer = json.loads((await caller.ask(post(a_message()))).body)

    assert answer.keys() & {"instance", "invoker"} == present


async def test_who_does_not_wait_gets_the_combined_form_with_the_id(listener: str) -> None:
    message = an_id()

    async with listening(FakeIntake(), http(listener=listener)) as url, calling(url) as caller:
        answer = json.loads((await caller.ask(post(a_message(message, blocking=False)))).body)

    assert answer["response"] == message
    assert "activationId" not in answer


async def test_a_result_is_never_told_alone() -> None:
    class Hasty(FakeIntake):
        async def invoke(self, admitted: Admitted, answers: Answers) -> None:
            await answers.accepted()
            with pytest.raises(RuntimeError, match=admitted.request.activation_id):
                await answers.result(an_activation(activation_id=admitted.request.activation_id))
            self.note("refused")

    intake = Hasty()
    async with listening(intake, http()) as url, calling(url) as caller:
        await caller.send(post(a_message()))
        await caller.rest()

    assert intake.count("refused") == 1


class Mute(FakeIntake):
    """Gives no answer, or only the receipt."""

    def __init__(self, *, receipt: bool) -> None:
        super().__init__()
        self._receipt = receipt

    async def invoke(self, admitted: Admitted, answers: Answers) -> None:
        self.note("invoked", admitted.request.activation_id)
        if self._receipt:
            await answers.accepted()


async def test_without_a_receipt_the_caller_learns_that_we_failed(listener: str) -> None:
    async with listening(Mute(receipt=False), http(listener=listener)) as url, calling(url) as caller:
        got = await caller.ask(post(a_message()))

    assert got.status == HTTPStatus.INTERNAL_SERVER_ERROR


async def test_without_an_answer_the_connection_is_cut(listener: str) -> None:
    async with listening(Mute(receipt=True), http(listener=listener)) as url, calling(url) as caller:
        await caller.send(post(a_message()))

        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await caller.response()


class Raising(FakeIntake):
    """Breaks its promise to raise nothing."""

    async def invoke(self, admitted: Admitted, answers: Answers) -> None:
        await answers.accepted()
        raise RuntimeError(admitted.via)


async def test_an_error_ends_one_connection_and_is_logged(listener: str, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(Raising(), http(listener=listener)) as url:
        async with calling(url) as caller:
            await caller.send(post(a_message()))
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await caller.response()
        async with calling(url) as other:
            after = await other.ask(get("/ping"))

    assert after.status == HTTPStatus.OK
    assert "a connection broke" in [record.message for record in caplog.records]
