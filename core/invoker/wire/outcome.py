"""From what happened to what the caller sees: the only place where texts and statuses are chosen.

Replies are mapped in the order of spec 9.6 and 9.7, failures before a container by 9.9.
"""

from collections.abc import Callable

import msgspec

from invoker.config import Compat
from invoker.entities.activation import Outcome, Status
from invoker.entities.container import ContainerState, Reply
from invoker.entities.function import Limits
from invoker.errors import (
    FunctionNotFound,
    FunctionUnreadable,
    InvokerError,
    StartFailed,
    Undecryptable,
)
from invoker.wire.action_proxy import RunAnswer, error_response, read_run
from invoker.wire.messages import messages

_OK = 200
_EMPTY = msgspec.Raw(b"{}")


def _failure(status: Status, error: str | msgspec.Raw, size: int | None = None) -> Outcome:
    """Only the error itself is kept of an answer that has one (spec T50)."""
    return Outcome(status, error_response(error), size)


class Outcomes:
    """Chooses outcomes, in the texts of one compatibility mode."""

    def __init__(self, compat: Compat) -> None:
        self._texts = messages(compat)
        self._compat = compat

    # --- before there is a container (spec 9.9) ------------------------------------------------------------------

    def refused(self, reason: str) -> Outcome:
        """An admission plugin turned the message away, or a limit is broken."""
        return _failure(Status.APPLICATION_ERROR, reason)

    def not_started(self, cause: InvokerError) -> Outcome:
        """No container came into play because of `cause`."""
        match cause:
            case FunctionNotFound():
                return _failure(Status.APPLICATION_ERROR, self._texts.not_found)
            case FunctionUnreadable(executable=True):
                return _failure(Status.WHISK_ERROR, self._texts.incompatible)
            case Undecryptable():
                return _failure(Status.DEVELOPER_ERROR, self._texts.undecryptable(cause.parameter))
            case StartFailed():
                status = Status.DEVELOPER_ERROR if cause.developer_fault else Status.WHISK_ERROR
                return _failure(status, cause.public or self._texts.provision_failed)
            case _:  # the store doesn't answer, or the document is a sequence (6.7.7, 6.7.8)
                return _failure(Status.WHISK_ERROR, self._texts.fetch_failed)

    # --- in a container ------------------------------------------------------------------------------------------

    def timed_out(self, limits: Limits, *, init: bool) -> Outcome:
        """The call took as long as the limit, or longer."""
        return _failure(Status.DEVELOPER_ERROR, self._texts.timed_out(limits.timeout, init=init))

    def lost(self, state: ContainerState, *, init: bool) -> Outcome:
        """The connection ended without a reply. Where nobody can tell why, it is our failure."""
        if not state.known:
            return self.broken_off()
        if state.memory_exhausted:
            text = self._texts.memory_exhausted
        else:
            text = self._texts.abnormal_init if init else self._texts.abnormal_run
        return _failure(Status.DEVELOPER_ERROR, text)

    def broken_off(self) -> Outcome:
        """We failed, or were stopped, in the middle."""
        return _failure(Status.WHISK_ERROR, self._texts.abnormal_run)

    def init_failed(self, reply: Reply, allowed: int) -> Outcome:
        """`/init` answered, in time, that it did not succeed; or too much to be believed."""
        if reply.truncated:
            return self._truncated(Status.DEVELOPER_ERROR, reply, allowed)
        return self._developer_error(read_run(reply.body), self._texts.invalid_init)

    def ran(self, reply: Reply, allowed: int) -> Outcome:
        """`/run` answered in time."""
        if reply.truncated:
            return self._truncated(Status.APPLICATION_ERROR, reply, allowed)
        answer = read_run(reply.body)
        if reply.status != _OK or answer.form != "object":
            return self._unusual(reply, answer)
        size = answer.size(self._compat)
        if answer.error is None:
            return Outcome(Status.SUCCESS, msgspec.Raw(answer.body), size)
        if self._compat == "functions":  # with what stands beside the error (spec 8.8.6)
            return Outcome(Status.APPLICATION_ERROR, msgspec.Raw(answer.body), size)
        return _failure(Status.APPLICATION_ERROR, answer.error, size)

    def _unusual(self, reply: Reply, answer: RunAnswer) -> Outcome:
        """A status other than 200, or no object (spec 9.7.4-9.7.6; for `functions` 9.10.6)."""
        if reply.status == _OK and answer.form == "array" and self._compat == "openwhisk":
            return Outcome(Status.SUCCESS, msgspec.Raw(answer.body), answer.size(self._compat))
        if reply.status == _OK and answer.form == "null" and self._compat == "functions":
            return Outcome(Status.SUCCESS, _EMPTY, answer.size(self._compat))
        return self._developer_error(answer, self._texts.invalid_run)

    def _developer_error(self, answer: RunAnswer, otherwise: Callable[[str], str]) -> Outcome:
        """What the container says is wrong, or the text that `otherwise` makes of its answer."""
        error = answer.error if answer.error is not None else otherwise(answer.text)
        return self._answered(Status.DEVELOPER_ERROR, error, answer.size(self._compat))

    def _truncated(self, status: Status, reply: Reply, allowed: int) -> Outcome:
        text = reply.body.decode("utf-8", "replace")
        return self._answered(status, self._texts.truncated(reply.length, allowed, text), reply.length)

    def _answered(self, status: Status, error: str | msgspec.Raw, size: int) -> Outcome:
        """A failure whose error replaces the answer of `size`; `functions` counts the error instead (spec 8.8.6)."""
        response = error_response(error)
        return Outcome(status, response, memoryview(response).nbytes if self._compat == "functions" else size)
