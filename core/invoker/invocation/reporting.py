"""What is done with an activation once it has ended: recorded, counted, logged, shown to observers."""

import logging
from collections.abc import Callable

from invoker.config import Compat, RecordingSettings
from invoker.entities.activation import Activation
from invoker.entities.request import Request
from invoker.invocation.running import Running
from invoker.recording import Recorder
from invoker.telemetry import ActivationTelemetry, Finished
from invoker.wire.record import is_recorded

logger = logging.getLogger("invoker.invocation")


class Reporting:
    """Takes ended activations to everybody who must know, in the order of what must not be lost."""

    def __init__(
        self,
        recorder: Recorder,
        telemetry: ActivationTelemetry,
        observers: Callable[[Activation], None] | None,
        settings: RecordingSettings,
        compat: Compat,
    ) -> None:
        """`observers` is `None` when there are none: asking pluggy in vain costs 1 µs."""
        self._recorder = recorder
        self._telemetry = telemetry
        self._observers = observers
        self._settings = settings
        self._compat = compat

    def started(self) -> None:
        """An activation was accepted."""
        self._telemetry.started()

    def record(self, request: Request, activation: Activation) -> None:
        """Hand the record over, if the storage rule wants it kept (spec 8.5)."""
        if is_recorded(
            activation,
            store_activations=request.caller.limits.store_activations,
            extra_logging=request.transaction.extra_logging,
            blocking_level=self._settings.store_blocking,
            non_blocking_level=self._settings.store_non_blocking,
            compat=self._compat,
        ):
            self._recorder.submit(activation)

    def finished(self, running: Running, activation: Activation) -> None:
        """Count, log and show an activation. Nothing that fails here goes further."""
        self._telemetry.finished(
            Finished(
                activation=activation,
                transaction_id=running.request.transaction.id,
                via=running.admitted.via,
                context=running.admitted.context,
                container=running.container,
                warm=running.warm,
                prewarmed=running.prewarmed,
                run_time=running.timeline.run_time,
                log_time=running.timeline.log_time,
            )
        )
        if self._observers is not None:
            try:
                self._observers(activation)
            except Exception:
                logger.exception("an observer failed on activation %s", activation.activation_id)
