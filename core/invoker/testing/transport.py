"""What every transport must do."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Final, Protocol, TypeAlias

import msgspec
import pytest

from invoker.config import LimitsSettings
from invoker.contracts import Intake
from invoker.entities.activation import Status
from invoker.testing.builders import NOW, an_id, an_outcome
from invoker.testing.intake import FakeIntake

CROWD: Final = 64
LARGE: Final = 1 << 18
"""Bytes of a result; more than an event loop's transport takes at once."""


class SentMessage(Protocol):
    """One message on its way, seen from the client that sent it."""

    async def accepted(self) -> bool:
        """Wait for the receipt; False if the transport says that there will be none."""
        ...

    async def answers(self) -> Sequence[bytes]:
        """Wait until the transport has said all about this message; return the acknowledgements, in order."""
        ...


Send: TypeAlias = Callable[[bytes], Awaitable[SentMessage]]
"""How a client sends a message; it returns when the message is on its way."""
OpenTransport: TypeAlias = Callable[[Intake], AbstractAsyncContextManager[Send]]


def a_message(activation_id: str | None = None, *, blocking: bool = True, size: int | None = None) -> bytes:
    """Return an activation message (spec 1.8), filled up to `size` bytes if that is given."""
    message = {
        "transid": ["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4", NOW],
        "action": {"path": "guest", "name": "hello", "version": "0.0.1"},
        "revision": None,
        "user": {
            "subject": "guest-subject",
            "namespace": {"name": "guest", "uuid": "8a1c1f2e-4d5b-4c6a-9e7f-001122334455"},
            "authkey": {"api_key": f"8a1c1f2e-4d5b-4c6a-9e7f-001122334455:{'k' * 64}"},
            "rights": ["READ", "PUT", "DELETE", "ACTIVATE"],
            "limits": {},
        },
        "activationId": activation_id or an_id(),
        "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
        "blocking": blocking,
        "content": {"name": ""},
        "initArgs": [],
        "lockedArgs": {},
    }
    short = len(msgspec.json.encode(message))
    message["content"] = {"name": "x" * (0 if size is None else size - short)}
    return msgspec.json.encode(message)


async def told(send: Send, message: bytes) -> list[Any]:
    """Send a message; return the acknowledgements."""
    return [json.loads(each) for each in await (await send(message)).answers()]


def frees_the_slot(answer: Any) -> bool:
    """Whether a controller takes an acknowledgement for a completion (spec 2.2, 2.8.5)."""
    return "instance" in answer or "invoker" in answer


@pytest.mark.asyncio
class TransportContract:
    """What every transport must do: `class TestMine(TransportContract)`. Use a real socket, or a real broker.

    Fixtures to provide:
        open_transport: opens the transport on an intake, `async with open_transport(intake) as send`, at the settings'
            defaults but for addresses. `send` is a client of it: it must not go through the transport's own code.

    Class variables to set where the defaults are wrong:
        tells_refusals: whether a sender learns that its message was turned away; a queue tells nobody.
    """

    tells_refusals: ClassVar[bool] = True

    async def refused(self, message: SentMessage) -> None:
        """Wait until the sender knows that its message was turned away, if it is told."""
        if self.tells_refusals:
            assert not await message.accepted()
            assert not await message.answers()

    async def test_the_receipt_comes_while_the_invocation_runs(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()

        async with open_transport(intake) as send:
            with intake.held():
                delivery = await send(a_message())
                accepted = await delivery.accepted()
                running = not intake.count("completed")
            await delivery.answers()

        assert accepted
        assert running

    async def test_what_is_no_message_is_never_invoked(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()
        good = an_id()

        async with open_transport(intake) as send:
            for bad in [await send(body) for body in (b"", b"{}", b'{"transid":', b"\xff\x00")]:
                await self.refused(bad)
            await told(send, a_message(good))

        assert [one.request.activation_id for one in intake.admitted] == [good]

    async def test_without_room_there_is_no_receipt(self, open_transport: OpenTransport) -> None:
        """Who can't be told is taken as soon as there is room."""
        intake = FakeIntake()
        message = an_id()

        async with open_transport(intake) as send:
            with intake.full():
                delivery = await send(a_message(message))
                await intake.seen("busy")
                if self.tells_refusals:
                    assert not await delivery.accepted()
                assert not intake.admitted
            answers = await delivery.answers()

        taken = [] if self.tells_refusals else ["admitted", "accepted", "completed"]
        assert [what for what in intake.story(message) if what != "busy"] == taken
        assert len(answers) == len(taken[:1])

    async def test_who_waits_for_room_does_not_hinder_a_stop(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()

        with intake.full():
            async with open_transport(intake) as send:
                delivery = await send(a_message())
                await intake.seen("busy")
                await self.refused(delivery)
                await intake.drain()

        assert not intake.admitted

    async def test_each_message_is_invoked_once_and_as_it_came(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()
        ids = [an_id() for _ in range(10)]

        async with open_transport(intake) as send:
            for each in ids:
                await told(send, a_message(each))

        assert [one.request.activation_id for one in intake.admitted] == ids
        assert {one.size for one in intake.admitted} == {len(a_message())}
        assert all(intake.story(each) == ["admitted", "accepted", "completed"] for each in ids)

    @pytest.mark.parametrize("blocking", [True, False])
    @pytest.mark.parametrize("late_logs", [True, False])
    async def test_the_slot_is_freed_once(
        self, open_transport: OpenTransport, *, blocking: bool, late_logs: bool
    ) -> None:
        intake = FakeIntake()
        intake.late_logs = late_logs

        async with open_transport(intake) as send:
            answers = await told(send, a_message(blocking=blocking))

        assert [frees_the_slot(answer) for answer in answers].count(True) == 1
        assert frees_the_slot(answers[-1])
        assert len(answers) <= 2

    @pytest.mark.parametrize("late_logs", [True, False])
    async def test_who_waits_is_told_the_response(self, open_transport: OpenTransport, *, late_logs: bool) -> None:
        intake = FakeIntake()
        intake.late_logs = late_logs
        intake.outcomes.append(an_outcome('{"greeting":"h\u00e9llo"}'.encode()))
        message = an_id()

        async with open_transport(intake) as send:
            first, *_ = await told(send, a_message(message))

        assert first["transid"] == ["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4", NOW]
        assert first["response"]["activationId"] == message
        assert first["response"]["response"]["result"] == {"greeting": "h\u00e9llo"}

    async def test_who_does_not_wait_is_told_the_id_alone(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()
        intake.outcomes.append(an_outcome(b'{"secret":"of nobody who waits"}'))
        message = an_id()

        async with open_transport(intake) as send:
            (answer,) = await (await send(a_message(message, blocking=False))).answers()

        assert message.encode() in answer
        assert b"secret" not in answer

    async def test_a_failure_of_ours_is_told_as_such(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()
        intake.outcomes.append(an_outcome(b'{"error":"the platform is to blame"}', Status.WHISK_ERROR))

        async with open_transport(intake) as send:
            *_, last = await told(send, a_message())

        assert last["isSystemError"] is True

    async def test_many_at_once_get_their_own_answers(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()
        ids = [an_id() for _ in range(CROWD)]

        async with open_transport(intake) as send:
            with intake.held():
                deliveries = await asyncio.gather(*(send(a_message(each)) for each in ids))
                receipts = await asyncio.gather(*(each.accepted() for each in deliveries))
                await intake.seen("accepted", CROWD)
            answers = await asyncio.gather(*(each.answers() for each in deliveries))

        assert all(receipts)
        assert [json.loads(first)["response"]["activationId"] for first, *_ in answers] == ids

    async def test_a_message_of_the_largest_size_is_taken(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()
        largest = LimitsSettings().message

        async with open_transport(intake) as send:
            delivery = await send(a_message(size=largest))
            accepted = await delivery.accepted()
            answers = await delivery.answers()

        assert accepted
        assert [one.size for one in intake.admitted] == [largest]
        assert frees_the_slot(json.loads(answers[-1]))

    async def test_a_message_with_one_byte_more_is_not(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()
        good = an_id()

        async with open_transport(intake) as send:
            await self.refused(await send(a_message(size=LimitsSettings().message + 1)))
            await told(send, a_message(good))

        assert [one.request.activation_id for one in intake.admitted] == [good]

    async def test_nothing_is_taken_while_the_invoker_drains_and_what_runs_is_answered(
        self, open_transport: OpenTransport
    ) -> None:
        intake = FakeIntake()

        async with open_transport(intake) as send:
            with intake.held():
                running = await send(a_message())
                await intake.seen("accepted")
                intake.refuse()
                await self.refused(await send(a_message()))
            answers = await running.answers()
            await intake.drain()

        assert len(intake.admitted) == 1
        assert [frees_the_slot(json.loads(answer)) for answer in answers].count(True) == 1

    async def test_leaving_loses_no_answer_that_was_given(self, open_transport: OpenTransport) -> None:
        intake = FakeIntake()
        intake.outcomes.extend([an_outcome(b'"%b"' % (b"x" * LARGE))] * (CROWD // 8))

        async with open_transport(intake) as send:
            with intake.held():
                deliveries = await asyncio.gather(*(send(a_message()) for _ in range(CROWD // 8)))
                await intake.seen("accepted", len(deliveries))
            await intake.drain()
        answers = await asyncio.gather(*(each.answers() for each in deliveries))

        assert [frees_the_slot(json.loads(answer)) for (answer,) in answers] == [True] * len(deliveries)
        assert all(len(answer) > LARGE for (answer,) in answers)
