"""The straight line: an admitted message in, its answers and its record out. Read it downwards."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from invoker.contracts import NO_CONTEXT, Admission, Admitted, Answers
from invoker.entities.activation import Outcome
from invoker.entities.function import Executable
from invoker.entities.request import Request
from invoker.errors import Aborted, InvokerError, StartFailed, StoreError, Undecryptable, Unreachable
from invoker.functions import FunctionCache
from invoker.invocation.door import Door
from invoker.invocation.execution import Execution
from invoker.invocation.limits import LimitsCheck
from invoker.invocation.outcome import Outcomes
from invoker.invocation.reporting import Reporting
from invoker.invocation.running import Running
from invoker.invocation.telling import Telling
from invoker.invocation.timeline import Timeline
from invoker.pool import Pool
from invoker.wire.locked import Keys

logger = logging.getLogger("invoker.invocation")

_MOVES = 3
"""How often an activation goes to another container because one did not take it (spec 9.8.4 has no bound)."""


class Refusal(InvokerError):
    """The line ends early: the caller gets `outcome`. `blocked` is for what admission plugins turn away."""

    def __init__(self, outcome: Outcome, *, blocked: bool = False) -> None:
        self.outcome = outcome
        self.blocked = blocked
        super().__init__(outcome.status.word)


class Invoker:
    """The core's side of the door (`contracts.Intake`).

    Whatever breaks, a message that was admitted gets exactly one slot-freeing answer, and its record is safe with the
    recorder before that.
    """

    def __init__(  # noqa: PLR0913 (the stations of the line, each built elsewhere)
        self,
        *,
        door: Door,
        admissions: Sequence[Admission],
        functions: FunctionCache,
        keys: Keys,
        limits: LimitsCheck,
        pool: Pool,
        execution: Execution,
        outcomes: Outcomes,
        reporting: Reporting,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._door = door
        self._admissions = admissions
        self._functions = functions
        self._keys = keys
        self._limits = limits
        self._pool = pool
        self._execution = execution
        self._outcomes = outcomes
        self._reporting = reporting
        self._clock = clock
        self._tasks: set[asyncio.Task[object]] = set()
        """The transports' tasks that walk the line now."""
        self._breaking_off = False
        self.broken_off = 0
        """Activations that were ended because stopping took too long."""

    def admit(self, body: bytes, *, via: str, context: Mapping[str, str] = NO_CONTEXT) -> Admitted:
        """See `Intake.admit`."""
        return self._door.admit(body, via=via, context=context)

    async def invoke(self, admitted: Admitted, answers: Answers) -> None:
        """See `Intake.invoke`."""
        running = Running(
            admitted,
            Timeline(self._clock),
            Telling(answers, blocking=admitted.request.blocking),
            self._door.pass_for(admitted),
        )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine runs in a task)
        self._tasks.add(task)
        try:
            await running.telling.accepted(admitted.request.activation_id)
            self._reporting.started()
            await self._walk(running)
        except asyncio.CancelledError:
            await self._abort(running)
            if not self._breaking_off:  # somebody else wanted this task to end
                raise
            task.uncancel()
        except Exception:
            logger.exception("activation %s broke the invoker", admitted.request.activation_id)
            await self._abort(running)
        finally:
            self._tasks.discard(task)
            running.stay.leave()

    def break_off(self) -> None:
        """End every invocation now: each is recorded and answered as a system error."""
        self._breaking_off = True
        self.broken_off += len(self._tasks)
        for task in self._tasks:
            task.cancel()

    # --- the stations ------------------------------------------------------------------------------------------

    async def _walk(self, running: Running) -> None:
        request = running.request
        try:
            self._admit_caller(request)
            executable = self._functions.cached(request.function) or await self._functions.fetch(request.function)
            self._check_limits(running, executable)
            content = self._unlock(request)
            outcome, logs = await self._in_a_container(running, executable, content)
        except Refusal as refusal:
            await self._finish(running, refusal.outcome, blocked=refusal.blocked)
        except (StoreError, StartFailed, Undecryptable) as error:
            logger.warning("activation %s did not start: %s", request.activation_id, error)
            await self._finish(running, self._outcomes.not_started(error))
        else:
            await self._finish(running, outcome, logs)

    def _admit_caller(self, request: Request) -> None:
        for admission in self._admissions:
            reason = admission.refusal(request)
            if reason is not None:
                raise Refusal(self._outcomes.refused(reason), blocked=True)

    def _check_limits(self, running: Running, executable: Executable) -> None:
        running.executable = executable
        violation = self._limits.violation(executable.function.limits, running.request.caller.limits)
        if violation is not None:
            raise Refusal(self._outcomes.refused(violation))

    def _unlock(self, request: Request) -> msgspec.Raw | None:
        if not request.locked or request.content is None:
            return request.content
        return self._keys.open(request.content, request.locked)

    async def _in_a_container(
        self, running: Running, executable: Executable, content: msgspec.Raw | None
    ) -> tuple[Outcome, tuple[str, ...]]:
        """Run in the next container that takes the call."""
        for moves in range(1 + _MOVES):
            try:
                async with self._pool.lease(executable, running.request, moved=moves > 0) as lease:
                    running.placed(lease)
                    return await self._execution.run(running, executable, content, lease)
            except Unreachable as error:
                logger.info("activation %s goes to another container: %s", running.request.activation_id, error)
            except Aborted as error:
                return error.outcome, ()
            running.timeline.restart()
        return self._outcomes.broken_off(), ()

    # --- the end -----------------------------------------------------------------------------------------------

    async def _finish(
        self, running: Running, outcome: Outcome, logs: tuple[str, ...] = (), *, blocked: bool = False
    ) -> None:
        """Record, then answer, then tell whoever watches."""
        activation = running.finish(outcome, logs)
        if not blocked:  # spec 8.5.5, T72
            self._reporting.record(running.request, activation)
        try:
            await running.telling.complete(activation, ran=running.container is not None, blocked=blocked)
        finally:
            self._reporting.finished(running, activation)

    async def _abort(self, running: Running) -> None:
        """End an invocation as our failure, unless it had already ended when it was disturbed."""
        if not running.finished:
            running.timeline.cut_off()
            await self._finish(running, self._outcomes.broken_off())
