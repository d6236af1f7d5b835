"""Telling the caller: which messages, and each at most once (spec 2.4)."""

import logging

from invoker.contracts import Answers
from invoker.entities.activation import Ack, Activation

logger = logging.getLogger("invoker.invocation")


class Telling:
    """Drives one caller's `Answers`: never two results, never a completion before its result.

    What a transport can't deliver is logged, with its activation id, and changes nothing else.
    """

    __slots__ = ("_answers", "_blocking", "completed", "early")

    def __init__(self, answers: Answers, *, blocking: bool) -> None:
        self._answers = answers
        self._blocking = blocking
        self.early = False
        """The result was told before its logs were there."""
        self.completed = False
        """The slot-freeing answer was given."""

    @property
    def may_split(self) -> bool:
        """Whether a late completion would spare somebody a wait."""
        return self._blocking and self._answers.splits

    async def accepted(self, activation_id: str) -> None:
        """Give the receipt. A caller that is already gone loses nothing: the invocation runs."""
        try:
            await self._answers.accepted()
        except Exception as error:  # noqa: BLE001 (a transport's failure must not cost the invocation)
            logger.info("the receipt of activation %s could not be given: %s", activation_id, error)

    async def result(self, activation: Activation) -> None:
        """Tell the result ahead of the logs."""
        self.early = True
        try:
            await self._answers.result(activation)
        except Exception as error:  # noqa: BLE001 (see above)
            logger.warning("the result of activation %s could not be told: %s", activation.activation_id, error)

    async def complete(self, activation: Activation, *, ran: bool, blocked: bool) -> None:
        """Free the slot; a second call does nothing.

        `ran`: a container was there. `blocked`: the namespace was refused.
        """
        if self.completed:
            return
        self.completed = True
        try:
            await self._answers.completed(activation, self._ack(ran=ran, blocked=blocked))
        except Exception as error:  # noqa: BLE001 (see above)
            logger.warning("activation %s could not be acknowledged: %s", activation.activation_id, error)

    def _ack(self, *, ran: bool, blocked: bool) -> Ack:
        """The table of spec 2.4."""
        if self.early:
            return Ack.COMPLETION
        if blocked:
            return Ack.SHRUNK
        if self._blocking:
            return Ack.COMBINED
        return Ack.COMPLETION if ran else Ack.SHRUNK
