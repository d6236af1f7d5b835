"""The straight line: an admitted message in, its record and its answer out. Read it downwards."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from invoker.contracts import Admission, Admitted, Answers
from invoker.entities.activation import Outcome
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.errors import Aborted, StartFailed, StoreError, Undecryptable, Unreachable
from invoker.functions import FunctionCache, LimitsCheck
from invoker.invocation.admission import AdmissionControl, Life
from invoker.invocation.delivery import Delivery
from invoker.invocation.execution import Execution
from invoker.invocation.invocation import Invocation
from invoker.pool import Pool
from invoker.wire.action_proxy import Arguments, split
from invoker.wire.locked import Keys
from invoker.wire.outcome import Outcomes

logger = logging.getLogger("invoker.invocation")

_MOVES: Final = 3  # to other containers, because one did not take the call (spec 9.8.4 has no bound)
_LARGE: Final = 64 << 10  # bytes of a message whose arguments are taken apart in a thread: 1 MB may take 100 ms


@dataclass(kw_only=True, eq=False)
class Invoker:
    """The core's side of every transport (`contracts.Intake`). Owns the invocations, each with its task.

    Whatever breaks, a message that was admitted gets exactly one slot-freeing answer, and its record is with the
    recorder before that.
    """

    admission: AdmissionControl
    judges: Sequence[Admission]
    functions: FunctionCache
    keys: Keys
    limits: LimitsCheck
    pool: Pool
    execution: Execution
    outcomes: Outcomes
    delivery: Delivery
    wall: Callable[[], int] = time.time_ns
    monotonic: Callable[[], int] = time.monotonic_ns
    broken_off: int = 0  # activations that were ended because stopping took too long

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._loop = asyncio.get_running_loop()
        self._invocations: set[Invocation] = set()
        self._ended = asyncio.Event()  # set whenever one comes to its end while the invoker drains
        self._breaking_off = False
        self.admit, self.room = self.admission.admit, self.admission.room  # see `Intake`
        self.reserve, self.release = self.admission.reserve, self.admission.release  # likewise

    def invoke(self, admitted: Admitted, answers: Answers) -> None:
        """See `Intake.invoke`."""
        invocation = Invocation(admitted, answers, self.wall() - self.monotonic(), self.monotonic)
        self._invocations.add(invocation)
        invocation.task = self._loop.create_task(self._carry(invocation))

    async def drain(self) -> None:
        """Admit nothing more, and wait until every invocation has come to its end; `break_off` makes that soon."""
        self.admission.life = Life.DRAINING
        self.admission.look()
        while any(not one.delivering for one in self._invocations):
            self._ended.clear()
            await self._ended.wait()

    def break_off(self) -> None:
        """End every invocation now: each is recorded and answered as a system error."""
        self._breaking_off = True
        for invocation in self._invocations:
            if not invocation.delivering:
                self.broken_off += 1
                if invocation.started:  # a task that is cancelled before its first step does nothing at all
                    invocation.task.cancel()

    async def close(self, patience: float) -> None:
        """Wait for the answers that are under way, for at most `patience` seconds; what is left is not delivered."""
        if self._invocations:
            _, late = await asyncio.wait({one.task for one in self._invocations}, timeout=patience)
            self.delivery.give_up()
            if late:
                await asyncio.wait(late)
        self.admission.life = Life.CLOSED

    # --- the stations ------------------------------------------------------------------------------------------

    async def _carry(self, invocation: Invocation) -> None:
        """See a message through. Only `break_off` interrupts this, and only until the end, which nothing interrupts."""
        invocation.started = True
        outcome = None
        try:
            await self.delivery.accept(invocation)
            outcome = None if self._breaking_off else await self._walk(invocation)
        except asyncio.CancelledError:
            invocation.task.uncancel()  # what follows may have time limits of its own, which look at it
        except Exception:
            logger.exception("activation %s broke the invoker", invocation.admitted.request.activation_id)
        invocation.delivering = True
        if self.admission.life is Life.DRAINING:
            self._ended.set()
        try:
            if invocation.waits:
                self._stop_waiting(invocation)
            if outcome is None:  # it ends in the middle, as our failure
                invocation.cut_off()
                outcome = self.outcomes.broken_off()
            await self.delivery.deliver(invocation, outcome)
        finally:
            self._invocations.discard(invocation)
            self.admission.running -= 1

    async def _walk(self, invocation: Invocation) -> Outcome:
        request = invocation.admitted.request
        for judge in self.judges:
            if (reason := judge.refusal(request)) is not None:
                invocation.blocked = True
                return self.outcomes.refused(reason)
        try:
            executable = self.functions.cached(request.function) or await self.functions.fetch(request.function)
            invocation.executable = executable
            violation = self.limits.violation(executable.function.limits, request.caller.limits)
            if violation is not None:
                return self.outcomes.refused(violation)
            if invocation.admitted.size > _LARGE and (request.locked or request.init_names):
                arguments = await asyncio.to_thread(self._arguments, request)
            else:
                arguments = self._arguments(request)
            return await self._in_a_container(invocation, executable, arguments)
        except (StoreError, StartFailed, Undecryptable) as error:
            logger.warning("activation %s did not start: %s", request.activation_id, error)
            return self.outcomes.not_started(error)

    async def _in_a_container(self, invocation: Invocation, executable: Executable, arguments: Arguments) -> Outcome:
        """Run in the next container that takes the call."""
        for moves in range(1 + _MOVES):
            try:
                async with self.pool.lease(executable, invocation.admitted.request, moved=moves > 0) as lease:
                    if invocation.waits:
                        self._stop_waiting(invocation)
                    invocation.placed(lease)
                    return await self.execution.run(invocation, executable, arguments, lease)
            except Unreachable as error:
                invocation.init_start = invocation.init_end = invocation.run_start = invocation.run_end = 0
                aid = invocation.admitted.request.activation_id
                logger.info("activation %s goes to another container: %s", aid, error)
            except Aborted as error:
                return error.outcome
        return self.outcomes.broken_off()

    def _arguments(self, request: Request) -> Arguments:
        content = request.content
        if request.locked and content is not None:
            content = self.keys.open(content, request.locked)
        return split(content, request.init_names)

    def _stop_waiting(self, invocation: Invocation) -> None:
        """Give the message's room back: it has its container, or will never have one."""
        invocation.waits = False
        self.admission.release(invocation.admitted.size)
