"""How a caller over HTTP is told: one acknowledgement, in the body of the response."""

from invoker.contracts import Answers
from invoker.entities.activation import Ack, Activation
from invoker.entities.request import Request
from invoker.wire.acknowledgement import Acknowledger
from invoker_http.response import Response


class BodyAnswers(Answers):
    """See `contracts.Answers`."""

    __slots__ = ("_acknowledger", "_request", "_response")

    def __init__(self, acknowledger: Acknowledger, request: Request, response: Response) -> None:
        self._acknowledger = acknowledger
        self._request = request
        self._response = response

    async def accepted(self) -> None:
        """Send the header: the caller knows that the message will run, before it does (spec 12.5)."""
        self._response.begin()

    async def completed(self, activation: Activation, ack: Ack) -> None:
        """Send the body. It must free the slot and be a result, so a bare completion becomes a shrunk one."""
        if ack is Ack.COMPLETION:
            ack = Ack.SHRUNK
        self._response.finish(self._acknowledger.encode(ack, self._request, activation))
