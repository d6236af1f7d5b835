"""How a caller over HTTP is told: one acknowledgement, in the body of the response."""

from typing import Final

from invoker.entities.activation import Ack, Activation
from invoker.entities.request import Request
from invoker.wire.acknowledgement import Acknowledger
from invoker_http.response import Response


class BodyAnswers:
    """See `contracts.Answers`."""

    __slots__ = ("_acknowledger", "_request", "_response")

    splits: Final = False
    """A body is one answer."""

    def __init__(self, acknowledger: Acknowledger, request: Request, response: Response) -> None:
        self._acknowledger = acknowledger
        self._request = request
        self._response = response

    async def accepted(self) -> None:
        """Send the header: the caller knows that the message will run, before it does (spec 12.5)."""
        self._response.begin()

    async def result(self, activation: Activation) -> None:
        """Refuse: what doesn't split is never asked for a result alone."""
        raise RuntimeError(f"activation {activation.activation_id}: HTTP has one answer for each message")

    async def completed(self, activation: Activation, ack: Ack) -> None:
        """Send the body. It must free the slot and be a result, so a bare completion becomes a shrunk one."""
        if ack is Ack.COMPLETION:
            ack = Ack.SHRUNK
        self._response.finish(self._acknowledger.encode(ack, self._request, activation))
