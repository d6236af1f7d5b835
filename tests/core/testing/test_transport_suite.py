"""The transport suite fits queues that split their answers and wait for room, and notices transports that are wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import pytest

from invoker.config import NodeSettings, PoolSettings, node_of
from invoker.contracts import Admitted, Answers, Intake
from invoker.entities.activation import Ack, Activation
from invoker.entities.request import Request
from invoker.errors import Busy, Draining, MalformedRequest
from invoker.testing.intake import FakeIntake
from invoker.testing.transport import OpenTransport, Send, TransportContract
from invoker.wire.acknowledgement import Acknowledger

ACKNOWLEDGER: Final = Acknowledger(node_of(NodeSettings(), PoolSettings()), spelling="instance", compat="openwhisk")
PATIENCE: Final = 0.5
"""Seconds after which a test that hangs has noticed something; none of a right transport takes a tenth of that."""


class Parcel:
    """A message in the queue, and what comes back."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.sent: list[bytes] = []
        self.received = asyncio.Event()
        self.done = asyncio.Event()

    async def accepted(self) -> bool:
        await self.received.wait()
        return True

    async def answers(self) -> Sequence[bytes]:
        await self.done.wait()
        return self.sent


class ParcelAnswers(Answers):
    """The core's side of a parcel. What is written waits in the queue's buffer, as in a producer's."""

    splits = True

    def __init__(self, queue: "Queue", parcel: Parcel, request: Request) -> None:
        self.queue = queue
        self.parcel = parcel
        self.request = request

    async def accepted(self) -> None:
        self.parcel.received.set()

    async def result(self, activation: Activation) -> None:
        self.parcel.sent.append(ACKNOWLEDGER.encode(Ack.RESULT, self.request, activation))

    async def completed(self, activation: Activation, ack: Ack) -> None:
        self.parcel.sent.append(ACKNOWLEDGER.encode(ack, self.request, activation))
        self.queue.written.append(self.parcel)
        asyncio.get_running_loop().call_later(self.queue.delay, self.queue.flush)


class Queue:
    """A transport in memory: it fetches, tells nobody of refusals, and waits for room."""

    answers: type[ParcelAnswers] = ParcelAnswers
    delay = 0.0

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.messages: asyncio.Queue[Parcel] = asyncio.Queue()
        self.written: list[Parcel] = []

    async def send(self, body: bytes) -> Parcel:
        parcel = Parcel(body)
        self.messages.put_nowait(parcel)
        return parcel

    async def fetch(self) -> None:
        """Take messages until the invoker takes no more."""
        while True:
            parcel = await self.messages.get()
            try:
                await self.room(len(parcel.body))
                self.take(parcel)
            except MalformedRequest:
                continue
            except Draining:
                return

    async def room(self, size: int) -> None:
        await self.intake.room(size)

    def take(self, parcel: Parcel) -> None:
        self.invoke(parcel, self.intake.admit(parcel.body, via="queue"))

    def invoke(self, parcel: Parcel, admitted: Admitted) -> None:
        self.intake.invoke(admitted, self.answers(self, parcel, admitted.request))

    def flush(self) -> None:
        for parcel in self.written:
            parcel.done.set()
        self.written.clear()


def opening(kind: Callable[[Intake], Queue]) -> OpenTransport:
    @asynccontextmanager
    async def opened(intake: Intake) -> AsyncIterator[Send]:
        queue = kind(intake)
        fetching = asyncio.create_task(queue.fetch())
        try:
            yield queue.send
        finally:
            fetching.cancel()
            queue.flush()

    return opened


class QueueSuite(TransportContract):
    tells_refusals: ClassVar[bool] = False


class TestQueue(QueueSuite):
    @pytest.fixture
    def open_transport(self) -> OpenTransport:
        return opening(Queue)


class Retrying(Queue):
    """Knows nothing of `room`."""

    async def room(self, size: int) -> None:
        await asyncio.sleep(0)

    def take(self, parcel: Parcel) -> None:
        try:
            super().take(parcel)
        except Busy:
            self.messages.put_nowait(parcel)


class TestRetryingQueue(QueueSuite):
    @pytest.fixture
    def open_transport(self) -> OpenTransport:
        return opening(Retrying)


async def test_room_is_given_in_the_order_of_those_who_wait() -> None:
    intake = FakeIntake()
    order: list[int] = []

    async def wait(number: int) -> None:
        await intake.room(1)
        order.append(number)

    async with asyncio.TaskGroup() as tasks:
        with intake.full():
            for number in range(5):
                tasks.create_task(wait(number))
            await intake.seen("busy")
            assert not order

    assert order == [0, 1, 2, 3, 4]


# --- wrong ones ------------------------------------------------------------------------------------------------------


class KeepsReceiptsBack(Queue):
    class answers(ParcelAnswers):  # noqa: N801 (it takes an attribute's place)
        async def accepted(self) -> None:
            pass

        async def completed(self, activation: Activation, ack: Ack) -> None:
            await super().completed(activation, ack)
            self.parcel.received.set()


class FreesTwice(Queue):
    class answers(ParcelAnswers):  # noqa: N801
        async def completed(self, activation: Activation, ack: Ack) -> None:
            await super().completed(activation, ack)
            await super().completed(activation, ack)


class FreesFirst(Queue):
    class answers(ParcelAnswers):  # noqa: N801
        async def completed(self, activation: Activation, ack: Ack) -> None:
            await super().completed(activation, ack)
            self.parcel.sent.reverse()


class TellsEverybody(Queue):
    class answers(ParcelAnswers):  # noqa: N801
        async def completed(self, activation: Activation, ack: Ack) -> None:
            await super().completed(activation, Ack.COMBINED)


class InvokesTwice(Queue):
    def invoke(self, parcel: Parcel, admitted: Admitted) -> None:
        super().invoke(parcel, admitted)
        super().invoke(parcel, admitted)


class GivesUp(Retrying):
    def take(self, parcel: Parcel) -> None:
        try:
            Queue.take(self, parcel)
        except Busy:
            return


class TakesNoLargeOnes(Queue):
    def take(self, parcel: Parcel) -> None:
        if len(parcel.body) < 1 << 20:
            super().take(parcel)


class LosesWhatIsWritten(Queue):
    delay = 60.0

    def flush(self) -> None:
        self.written.clear()


async def notices(kind: type[Queue], test: str, **fixtures: Any) -> bool:
    """Whether a test of the suite fails for a transport; one that never ends has noticed something, too."""
    try:
        async with asyncio.timeout(PATIENCE):
            await getattr(QueueSuite(), test)(opening(kind), **fixtures)
    except (AssertionError, TimeoutError):
        return True
    return False


@pytest.mark.parametrize(
    ("kind", "test", "fixtures"),
    [
        (KeepsReceiptsBack, "test_the_receipt_comes_while_the_invocation_runs", {}),
        (FreesTwice, "test_the_slot_is_freed_once", {"blocking": True, "late_logs": False}),
        (FreesFirst, "test_the_slot_is_freed_once", {"blocking": True, "late_logs": True}),
        (TellsEverybody, "test_who_does_not_wait_is_told_the_id_alone", {}),
        (InvokesTwice, "test_each_message_is_invoked_once_and_as_it_came", {}),
        (GivesUp, "test_without_room_there_is_no_receipt", {}),
        (TakesNoLargeOnes, "test_a_message_of_the_largest_size_is_taken", {}),
        (LosesWhatIsWritten, "test_leaving_loses_no_answer_that_was_given", {}),
    ],
)
async def test_the_suite_notices(kind: type[Queue], test: str, fixtures: dict[str, Any]) -> None:
    assert not await notices(Queue, test, **fixtures)
    assert await notices(kind, test, **fixtures)
