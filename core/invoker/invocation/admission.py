"""Admission control: who may come in. It decides before the receipt; after it nobody waits for room."""

import asyncio
import enum
from collections.abc import Mapping
from typing import Final

from invoker.config import IntakeSettings, LimitsSettings
from invoker.contracts import NO_CONTEXT, Admitted
from invoker.errors import Busy, Draining, MalformedRequest
from invoker.recording import Recorder
from invoker.wire.request import parse

_WANTS: Final = {
    "queue": ("too many messages wait for a container", 1),
    "records": ("too many activation records wait for the store", 5),
}
"""Of what there may be too much, and seconds: a queue moves with every function that ends, a store that is down takes
longer."""


class Life(enum.IntEnum):
    """The life of the invoker: one for all transports."""

    STARTING = 0
    """Not all parts are open; messages that come through those that are get admitted."""
    OPEN = 1
    DRAINING = 2
    """No new work; what runs ends, and is answered."""
    CLOSED = 3


class AdmissionControl:
    """Counts what is inside. Owned by the invoker; `operations` reads it."""

    def __init__(self, recorder: Recorder, intake: IntakeSettings, limits: LimitsSettings) -> None:
        self._recorder = recorder
        self._queue_bytes = int(intake.queue_bytes)
        self._message_bytes = limits.message
        self._line = asyncio.Lock()
        """Held by the transport that is first among those that wait for room."""
        self._woken: asyncio.Future[None] | None = None
        """What the first one waits for."""
        self.life = Life.STARTING
        self.waiting_bytes = 0
        """Of messages on their way or without a container yet, and of answers that transports have not taken yet."""
        self.running = 0
        """Invocations that have not ended."""
        self.refused_busy = dict.fromkeys(_WANTS, 0)
        """For want of what."""
        self.refused_malformed = 0
        recorder.when_stored(self.look)

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str] = NO_CONTEXT) -> Admitted:
        """See `Intake.admit`."""
        if self.life >= Life.DRAINING:
            raise Draining
        size = len(body)
        try:
            if size > self._message_bytes:
                raise MalformedRequest(f"the message has {size} bytes; {self._message_bytes} are allowed")  # noqa: TRY301
            request = parse(body)
        except MalformedRequest:
            self.refused_malformed += 1
            raise
        self.reserve(size)
        self.running += 1
        return Admitted(request, size, via, context)

    def reserve(self, size: int) -> None:
        """See `Intake.reserve`."""
        if not self._has_room(size):
            want = "records" if self._recorder.full else "queue"
            self.refused_busy[want] += 1
            raise Busy(*_WANTS[want])
        self.waiting_bytes += size

    async def room(self, size: int) -> None:
        """See `Intake.room`."""
        async with self._line:  # which is fair
            while self.life < Life.DRAINING:
                if self._has_room(size):
                    return
                self._woken = asyncio.get_running_loop().create_future()
                try:
                    await self._woken
                finally:
                    self._woken = None
            raise Draining

    def release(self, size: int) -> None:
        """Give back what a message, or an answer, has occupied. See also `Intake.release`."""
        self.waiting_bytes -= size
        self.look()

    def look(self) -> None:
        """Have whoever waits for room look again."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _has_room(self, size: int) -> bool:
        if self._recorder.full:
            return False
        return not self.waiting_bytes or self.waiting_bytes + size <= self._queue_bytes
