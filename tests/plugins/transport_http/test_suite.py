"""The transport suite fits queues that split their answers as well, and notices transports that are wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import pytest

from invoker.config import NodeSettings, PoolSettings, node_of
from invoker.contracts import Admitted, Intake
from invoker.entities.activation import Ack, Activation
from invoker.entities.request import Request
from invoker.errors import Busy, MalformedRequest
from invoker.testing.transport import GLANCE, OpenTransport, Send, TransportContract
from invoker.wire.acknowledgement import Acknowledger

ACKNOWLEDGER: Final = Acknowledger(node_of(NodeSettings(), PoolSettings()), spelling="instance", compat="openwhisk")


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


class Told:
    """The core's side of a parcel."""

    splits: Final = True

    def __init__(self, parcel: Parcel, request: Request) -> None:
        self.parcel = parcel
        self.request = request

    async def accepted(self) -> None:
        self.parcel.received.set()

    async def result(self, activation: Activation) -> None:
        self.parcel.sent.append(ACKNOWLEDGER.encode(Ack.RESULT, self.request, activation))

    async def completed(self, activation: Activation, ack: Ack) -> None:
        self.parcel.sent.append(ACKNOWLEDGER.encode(ack, self.request, activation))
        self.parcel.done.set()


class Queue:
    """A transport in memory: tells nobody of refusals, and tries again when there was no room."""

    told: type[Told] = Told
    waits = True
    breaks_off = True

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.running: set[asyncio.Task[None]] = set()

    async def send(self, body: bytes) -> Parcel:
        parcel = Parcel(body)
        self.take(parcel)
        return parcel

    def take(self, parcel: Parcel) -> None:
        try:
            admitted = self.intake.admit(parcel.body, via="queue")
        except MalformedRequest:
            return
        except Busy:
            asyncio.get_running_loop().call_soon(self.take, parcel)
            return
        self.invoke(parcel, admitted)

    def invoke(self, parcel: Parcel, admitted: Admitted) -> None:
        task = asyncio.create_task(self.intake.invoke(admitted, self.told(parcel, admitted.request)))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def leave(self) -> None:
        try:
            while self.waits and self.running:
                await asyncio.wait(self.running)
        except asyncio.CancelledError:
            for task in self.running if self.breaks_off else ():
                task.cancel()
            if self.breaks_off:
                await asyncio.wait(self.running)
            raise


def opening(kind: Callable[[Intake], Queue]) -> OpenTransport:
    @asynccontextmanager
    async def opened(intake: Intake) -> AsyncIterator[Send]:
        queue = kind(intake)
        try:
            yield queue.send
        finally:
            await queue.leave()

    return opened


class TestQueue(TransportContract):
    tells_refusals: ClassVar[bool] = False

    @pytest.fixture
    def open_transport(self) -> OpenTransport:
        return opening(Queue)


# --- wrong ones ------------------------------------------------------------------------------------------------------


class KeepsReceiptsBack(Queue):
    class told(Told):  # noqa: N801 (it takes an attribute's place)
        async def accepted(self) -> None:
            self.parcel.done.clear()

        async def completed(self, activation: Activation, ack: Ack) -> None:
            await super().completed(activation, ack)
            self.parcel.received.set()


class FreesTwice(Queue):
    class told(Told):  # noqa: N801
        async def completed(self, activation: Activation, ack: Ack) -> None:
            await super().completed(activation, ack)
            await super().completed(activation, ack)


class FreesFirst(Queue):
    class told(Told):  # noqa: N801
        async def completed(self, activation: Activation, ack: Ack) -> None:
            await super().completed(activation, ack)
            self.parcel.sent.reverse()


class TellsEverybody(Queue):
    class told(Told):  # noqa: N801
        async def completed(self, activation: Activation, ack: Ack) -> None:
            await super().completed(activation, Ack.COMBINED)


class InvokesTwice(Queue):
    def take(self, parcel: Parcel) -> None:
        super().take(parcel)
        super().take(parcel)


class GivesUp(Queue):
    def take(self, parcel: Parcel) -> None:
        try:
            self.invoke(parcel, self.intake.admit(parcel.body, via="queue"))
        except (MalformedRequest, Busy):
            return


class LeavesAtOnce(Queue):
    waits = False


class BreaksNothingOff(Queue):
    breaks_off = False


async def notices(kind: type[Queue], test: str, **fixtures: Any) -> bool:
    """Whether a test of the suite fails for a transport; one that never ends has noticed something, too."""
    try:
        await asyncio.wait_for(getattr(TestQueue(), test)(opening(kind), **fixtures), 5 * GLANCE)
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
        (LeavesAtOnce, "test_leaving_waits_for_what_runs", {}),
        (BreaksNothingOff, "test_leaving_that_is_cut_short_still_gives_every_answer", {}),
    ],
)
async def test_the_suite_notices(kind: type[Queue], test: str, fixtures: dict[str, Any]) -> None:
    assert not await notices(Queue, test, **fixtures)
    assert await notices(kind, test, **fixtures)
