"""The door: who may come in. It decides before the receipt; after it nobody waits for room."""

from collections.abc import Mapping

from invoker.config import IntakeSettings, LimitsSettings
from invoker.contracts import Admitted
from invoker.errors import Busy, MalformedRequest
from invoker.recording import Recorder
from invoker.wire.request import parse

_RETRY_QUEUE = 1
_RETRY_RECORDS = 5
"""Seconds: a queue moves with every function that ends, a store that is down takes longer."""


class Door:
    """Counts what waits inside. Owned by the invoker."""

    def __init__(self, recorder: Recorder, intake: IntakeSettings, limits: LimitsSettings) -> None:
        self._recorder = recorder
        self._queue_bytes = intake.queue_bytes
        self._message_bytes = limits.message
        self.waiting_bytes = 0
        """Messages that are admitted and have no container yet."""
        self.inside = 0
        """Invocations that have not ended."""
        self.refused_busy = 0
        self.refused_malformed = 0

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str]) -> Admitted:
        """Let a message in. See `Intake.admit`."""
        try:
            self._check_size(len(body))
            request = parse(body)
        except MalformedRequest:
            self.refused_malformed += 1
            raise
        try:
            self._check_room(len(body))
        except Busy:
            self.refused_busy += 1
            raise
        self.waiting_bytes += len(body)
        self.inside += 1
        return Admitted(request, len(body), via, context)

    def pass_for(self, admitted: Admitted) -> "Pass":
        """Return what gives the message's room back."""
        return Pass(self, admitted.size)

    def _check_size(self, size: int) -> None:
        if size > self._message_bytes:
            raise MalformedRequest(f"the message has {size} bytes; {self._message_bytes} are allowed")

    def _check_room(self, size: int) -> None:
        if self._recorder.full:
            raise Busy("too many activation records wait for the store", _RETRY_RECORDS)
        if self.waiting_bytes and self.waiting_bytes + size > self._queue_bytes:
            raise Busy("too many messages wait for a container", _RETRY_QUEUE)


class Pass:
    """One message's stay: its bytes count until it has a container, itself until it ends. Each is given back once."""

    __slots__ = ("_door", "_size")

    def __init__(self, door: Door, size: int) -> None:
        self._door = door
        self._size = size

    def stop_waiting(self) -> None:
        """The message has its container, or will never have one."""
        self._door.waiting_bytes -= self._size
        self._size = 0

    def leave(self) -> None:
        """The invocation has ended."""
        self.stop_waiting()
        self._door.inside -= 1
