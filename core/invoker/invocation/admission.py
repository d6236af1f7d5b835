"""Admission control: who may come in. It decides before the receipt; after it nobody waits for room."""

import asyncio
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from invoker.config import IntakeSettings, LimitsSettings
from invoker.contracts import NO_CONTEXT, Admitted
from invoker.errors import Busy, Draining, MalformedRequest
from invoker.recording import Recorder
from invoker.wire.request import parse


class Life(enum.IntEnum):
    """The life of the invoker: one for all transports."""

    STARTING = 0  # not all parts are open; messages that come through those that are get admitted
    OPEN = 1
    DRAINING = 2  # no new work; what runs ends, and is answered
    CLOSED = 3


@dataclass(eq=False)
class AdmissionControl:
    """Counts what is inside. Owned by the invoker; `operations` reads it."""

    recorder: Recorder
    intake: IntakeSettings
    limits: LimitsSettings
    life: Life = Life.STARTING
    waiting_bytes: int = 0  # of messages on their way or without a container yet, and of answers not taken
    running: int = 0  # invocations that have not ended
    refused_busy: dict[str, int] = field(default_factory=lambda: {"queue": 0, "records": 0})  # for want of what
    refused_malformed: int = 0

    def __post_init__(self) -> None:
        """Have whoever waits look again whenever records were stored."""
        self._line = asyncio.Lock()  # held by the transport that is first among those that wait for room
        self._longest = self.limits.message  # bytes of a message
        self._woken: asyncio.Future[None] | None = None  # what the first one waits for
        self.recorder.when_stored(self.look)

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str] = NO_CONTEXT) -> Admitted:
        """See `Intake.admit`."""
        if self.life >= Life.DRAINING:
            raise Draining
        size = len(body)
        try:
            if size > self._longest:
                raise MalformedRequest(f"the message has {size} bytes; {self._longest} are allowed")  # noqa: TRY301
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
            if self.recorder.full:
                self.refused_busy["records"] += 1
                raise Busy(self.recorder.lack, retry_after=5)
            self.refused_busy["queue"] += 1
            raise Busy("too many messages wait for a container", retry_after=1)  # it moves with each end of a function
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
        """Give back what a message, or an answer, has occupied; see also `Intake.release`."""
        self.waiting_bytes -= size
        if self._woken is not None:
            self.look()

    def look(self) -> None:
        """Have whoever waits for room look again."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _has_room(self, size: int) -> bool:
        if self.recorder.full:
            return False
        return not self.waiting_bytes or self.waiting_bytes + size <= self.intake.queue_bytes
