"""An invocation without a door: one function from here, one answer to look at."""

import asyncio
from collections.abc import Mapping, Sequence

from invoker.contracts import NO_CONTEXT, Admitted, Answers, FunctionStore
from invoker.entities.activation import Ack, Activation
from invoker.entities.function import Function, FunctionRef
from invoker.errors import Busy, FunctionNotFound


class OneFunction(FunctionStore):
    """A function store that holds one function, which was never stored anywhere."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self.ref = FunctionRef(
            path=function.path, name=function.name, version=function.version, revision=function.digest.hex()
        )
        """Its digest serves as revision: the same code is the same function."""

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:  # noqa: ARG002 (there is only one)
        """See `FunctionStore.fetch`."""
        if ref.document_id != self._function.document_id:
            raise FunctionNotFound(ref.document_id)
        return self._function


class Shown(Answers):
    """Answers that somebody in this program looks at."""

    def __init__(self) -> None:
        self.activation: asyncio.Future[Activation] = asyncio.get_running_loop().create_future()
        """What became of it."""

    async def accepted(self) -> None:
        """See `Answers.accepted`: nobody waits for a receipt."""

    async def completed(self, activation: Activation, ack: Ack) -> None:  # noqa: ARG002 (all is shown, whatever a controller would get)
        """See `Answers.completed`."""
        self.activation.set_result(activation)


class Nobody:
    """An intake that is not at home and operations that know nothing: for opening a door just to see that it opens."""

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str] = NO_CONTEXT) -> Admitted:  # noqa: ARG002 (whatever it is)
        """See `Intake.admit`: turns everything away."""
        raise Busy("this is only a check", 1)

    def invoke(self, admitted: Admitted, answers: Answers) -> None:
        """See `Intake.invoke`: never called, since nothing is admitted."""

    async def room(self, size: int) -> None:  # noqa: ARG002 (there is none for any)
        """See `Intake.room`: there never is any."""
        await asyncio.Event().wait()

    def faults(self) -> Sequence[str]:
        """See `Operations.faults`."""
        return ["this is only a check"]

    def metrics(self) -> bytes:
        """See `Operations.metrics`."""
        return b""

    def info(self) -> Mapping[str, object]:
        """See `Operations.info`."""
        return {}

    def pool(self) -> Mapping[str, object]:
        """See `Operations.pool`."""
        return {}
