"""The end of an invocation: its record, then its answer. Nothing may be lost here, whatever breaks (spec 2.4)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from invoker.config import Compat, RecordingSettings
from invoker.contracts import Observer
from invoker.entities.activation import Ack, Activation, Outcome
from invoker.invocation.admission import AdmissionControl
from invoker.invocation.invocation import Invocation
from invoker.recording import Recorder
from invoker.telemetry import ActivationTelemetry, Finished
from invoker.wire.record import is_recorded

logger = logging.getLogger("invoker.invocation")


@dataclass(eq=False)
class Delivery:
    """Takes ended invocations to everybody who must know, in the order of what must not be lost.

    Runs in tasks that nobody else has: an answer ends when its transport has taken it, or when its time is over. What a
    transport can't deliver is logged, and changes nothing else.
    """

    recorder: Recorder
    observers: Sequence[Observer]
    telemetry: ActivationTelemetry
    admission: AdmissionControl
    recording: RecordingSettings
    compat: Compat
    timeout: float  # seconds, for each answer
    undelivered: int = 0  # answers that no transport took in time, or that it could not deliver

    def __post_init__(self) -> None:
        """Begin with nothing under way."""
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[asyncio.Task[None], float] = {}
        """Tasks whose answer no transport has taken yet, and when their time is over, by the loop's clock; in order."""
        self._alarm: asyncio.TimerHandle | None = None

    async def accept(self, invocation: Invocation) -> None:
        """Give the receipt. A caller that is already gone loses nothing: the invocation runs."""
        self.telemetry.started()
        try:
            await invocation.answers.accepted()
        except Exception as error:  # noqa: BLE001 (a transport's failure must not cost the invocation)
            logger.info("the receipt of %s could not be given: %s", invocation.admitted.request.activation_id, error)

    def tell_early(self, invocation: Invocation, outcome: Outcome) -> None:
        """Tell the result ahead of the logs, beside what goes on: no answer, however slow, holds a container."""
        activation = invocation.activation(outcome)
        answer = self._answer(partial(invocation.answers.result, activation), activation)
        invocation.early = self._loop.create_task(answer, name="early result")
        self._expect(invocation.early)
        invocation.early.add_done_callback(lambda early: self._under_way.pop(early, None))

    async def deliver(self, invocation: Invocation, outcome: Outcome) -> None:
        """Record, then answer, then count and log. The task it runs in is cancelled when its time is over."""
        activation = invocation.activation(outcome, invocation.logs)
        safe = self._record(invocation, activation)
        size = memoryview(outcome.response).nbytes
        self.admission.waiting_bytes += size
        if invocation.early is not None:  # never a completion before its result
            await asyncio.wait({invocation.early})
        self._expect(invocation.task)
        await self._answer(partial(invocation.answers.completed, activation, _ack(invocation)), activation, safe)
        self._under_way.pop(invocation.task, None)
        self.admission.release(size)
        run_end, logs_end = invocation.run_end, invocation.logs_end
        self.telemetry.finished(
            Finished(
                activation=activation,
                admitted=invocation.admitted,
                container=invocation.container,
                start=invocation.start,
                cold_start=invocation.cold_start,
                run_time=run_end - invocation.run_start if run_end else None,
                log_time=max(0, logs_end - run_end) if run_end and logs_end else None,
            )
        )

    def give_up(self) -> None:
        """End every answer that is still under way, and give those to come no more than a turn of the loop."""
        self.timeout = 0.0
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for task in self._under_way:
            task.cancel()

    def _record(self, invocation: Invocation, activation: Activation) -> asyncio.Future[None] | None:
        """Hand the record over, if the storage rule wants it kept (spec 8.5), and show it to observers.

        The result is done when the record is safe; `None` if it is already, or if there is none.
        """
        request, safe = invocation.admitted.request, None
        try:
            if not invocation.blocked and is_recorded(activation, request, self.recording, self.compat):
                safe = self.recorder.submit(activation)
        except Exception:  # the slot must be freed all the same
            logger.exception("the record of activation %s is lost", activation.activation_id)
        for observer in self.observers:
            try:
                observer.finished(request, activation)
            except Exception:
                logger.exception("an observer failed on activation %s", activation.activation_id)
        return safe

    async def _answer(
        self, answer: Callable[[], Awaitable[None]], activation: Activation, safe: asyncio.Future[None] | None = None
    ) -> None:
        """Give an answer, once the record is safe."""
        try:
            if safe is not None:
                await safe
            await answer()
        except asyncio.CancelledError:
            self.undelivered += 1
            kept = safe is None or not safe.cancelled()
            logger.error(  # noqa: TRY400 (where it stood is nobody's fault)
                "an answer of activation %s is given up: %s in time",
                activation.activation_id,
                "its transport did not take it" if kept else "its record could neither be spooled nor stored",
            )
        except Exception as error:  # noqa: BLE001 (see `accept`)
            self.undelivered += 1
            logger.warning("activation %s could not be answered: %s", activation.activation_id, error)

    def _expect(self, task: asyncio.Task[None]) -> None:
        """Have an answer end when its time is over. One timer for all of them: it may ring early, and is set again."""
        self._under_way[task] = self._loop.time() + self.timeout
        if self._alarm is None:
            self._alarm = self._loop.call_later(self.timeout, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        self._alarm = None
        while self._under_way:
            task, over = next(iter(self._under_way.items()))
            if over > now:
                self._alarm = self._loop.call_at(over, self._look)
                return
            del self._under_way[task]
            task.cancel()


def _ack(invocation: Invocation) -> Ack:
    """The table of spec 2.4."""
    if invocation.early is not None:
        return Ack.COMPLETION
    if invocation.blocked:
        return Ack.SHRUNK
    if invocation.admitted.request.blocking:
        return Ack.COMBINED
    return Ack.COMPLETION if invocation.container is not None else Ack.SHRUNK
