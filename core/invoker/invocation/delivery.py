"""The end of an invocation: its record, then its answer. Nothing may be lost here, whatever breaks (spec 2.4)."""

import asyncio
import logging
from collections.abc import Sequence

from invoker.config import Compat, IntakeSettings, RecordingSettings
from invoker.contracts import Observer
from invoker.entities.activation import Ack, Activation, Outcome
from invoker.entities.request import Request
from invoker.invocation.admission import AdmissionControl
from invoker.invocation.invocation import Invocation
from invoker.recording import Recorder
from invoker.telemetry import ActivationTelemetry, Finished
from invoker.wire.record import is_recorded

logger = logging.getLogger("invoker.invocation")


class Delivery:
    """Takes ended invocations to everybody who must know, in the order of what must not be lost.

    Runs in tasks that nobody else has: an answer ends when its transport has taken it, or when its time is over. What a
    transport can't deliver is logged, and changes nothing else.
    """

    def __init__(  # noqa: PLR0913 (everybody who must know)
        self,
        recorder: Recorder,
        observers: Sequence[Observer],
        telemetry: ActivationTelemetry,
        admission: AdmissionControl,
        *,
        recording: RecordingSettings,
        intake: IntakeSettings,
        compat: Compat,
    ) -> None:
        self._recorder = recorder
        self._observers = observers
        self._telemetry = telemetry
        self._admission = admission
        self._settings = recording
        self._compat = compat
        self._limit: float = intake.answer_timeout
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[asyncio.Task[None], float] = {}
        """Tasks whose answer no transport has taken yet, and when their time is over, by the loop's clock; in order."""
        self._alarm: asyncio.TimerHandle | None = None
        self.undelivered = 0
        """Answers that no transport took in time, or that it could not deliver."""

    async def accept(self, invocation: Invocation) -> None:
        """Give the receipt. A caller that is already gone loses nothing: the invocation runs."""
        self._telemetry.started()
        try:
            await invocation.answers.accepted()
        except Exception as error:  # noqa: BLE001 (a transport's failure must not cost the invocation)
            activation_id = invocation.admitted.request.activation_id
            logger.info("the receipt of activation %s could not be given: %s", activation_id, error)

    def tell_early(self, invocation: Invocation, outcome: Outcome) -> None:
        """Tell the result ahead of the logs, beside what goes on: no answer, however slow, holds a container."""
        activation = invocation.activation(outcome)
        invocation.early = self._loop.create_task(self._result(invocation, activation), name="early result")
        self._expect(invocation.early)
        invocation.early.add_done_callback(self._under_way.pop)

    async def deliver(self, invocation: Invocation, outcome: Outcome) -> None:
        """Record, then answer, then count and log. The task it runs in is cancelled when its time is over."""
        activation = invocation.activation(outcome, invocation.logs)
        if not invocation.blocked:
            self._record(invocation.admitted.request, activation)
        for observer in self._observers:
            self._show(observer, invocation.admitted.request, activation)
        size = memoryview(outcome.response).nbytes
        self._admission.waiting_bytes += size
        if invocation.early is not None:  # never a completion before its result
            await asyncio.wait({invocation.early})
        self._expect(invocation.task)
        try:
            await invocation.answers.completed(activation, _ack(invocation))
        except asyncio.CancelledError:
            self.undelivered += 1
            logger.error(  # noqa: TRY400 (where it stood is nobody's fault)
                "activation %s is not acknowledged: its transport did not take the answer in time",
                activation.activation_id,
            )
        except Exception as error:  # noqa: BLE001 (see `accept`)
            self.undelivered += 1
            logger.warning("activation %s could not be acknowledged: %s", activation.activation_id, error)
        finally:
            del self._under_way[invocation.task]
            self._admission.release(size)
            self._count(invocation, activation)

    def give_up(self) -> None:
        """End every answer that is still under way, and give those to come no more than a turn of the loop."""
        self._limit = 0.0
        self.close()
        for task in self._under_way:
            task.cancel()

    def close(self) -> None:
        """Stop the clock."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _record(self, request: Request, activation: Activation) -> None:
        """Hand the record over, if the storage rule wants it kept (spec 8.5)."""
        settings = self._settings
        try:
            if is_recorded(
                activation,
                store_activations=request.caller.limits.store_activations,
                extra_logging=request.transaction.extra_logging,
                blocking_level=settings.store_blocking,
                non_blocking_level=settings.store_non_blocking,
                compat=self._compat,
            ):
                self._recorder.submit(activation)
        except Exception:  # the slot must be freed all the same
            logger.exception("the record of activation %s is lost", activation.activation_id)

    def _show(self, observer: Observer, request: Request, activation: Activation) -> None:
        try:
            observer.finished(request, activation)
        except Exception:
            logger.exception("an observer failed on activation %s", activation.activation_id)

    def _count(self, invocation: Invocation, activation: Activation) -> None:
        admitted = invocation.admitted
        ran, logs_end = invocation.run_end, invocation.logs_end
        self._telemetry.finished(
            Finished(
                activation=activation,
                transaction_id=invocation.admitted.request.transaction.id,
                via=admitted.via,
                context=admitted.context,
                container=invocation.container,
                start=invocation.start,
                cold_start=invocation.cold_start,
                run_time=ran - invocation.run_start if ran else None,
                log_time=max(0, logs_end - ran) if ran and logs_end else None,
            )
        )

    async def _result(self, invocation: Invocation, activation: Activation) -> None:
        try:
            await invocation.answers.result(activation)
        except asyncio.CancelledError:
            self.undelivered += 1
            logger.error(  # noqa: TRY400 (as above)
                "the result of activation %s is not told: its transport did not take it in time",
                activation.activation_id,
            )
        except Exception as error:  # noqa: BLE001 (see `accept`)
            self.undelivered += 1
            logger.warning("the result of activation %s could not be told: %s", activation.activation_id, error)

    def _expect(self, task: asyncio.Task[None]) -> None:
        """Have an answer end when its time is over. One timer for all of them: it may ring early, and is set again."""
        self._under_way[task] = self._loop.time() + self._limit
        if self._alarm is None:
            self._alarm = self._loop.call_later(self._limit, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        self._alarm = None
        for task, over in self._under_way.items():
            if over > now:
                self._alarm = self._loop.call_at(over, self._look)
                return
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
