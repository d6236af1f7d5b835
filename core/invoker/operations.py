"""What operators see: health, metrics, and what runs here (`contracts.Operations`)."""

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from invoker.config import NodeSettings, PoolSettings, RolesSettings, Settings, node_of
from invoker.contracts import Part
from invoker.functions import FunctionCache
from invoker.invocation.admission import AdmissionControl, Life
from invoker.invocation.delivery import Delivery
from invoker.plugins import Plugins
from invoker.pool import Pool, StartReason, State, WaitReason
from invoker.recording import Recorder
from invoker.telemetry import Metrics
from invoker.telemetry.metrics import NUMBERS

_SILENCE: Final = 5.0
"""Seconds without an answer of the activation store that are a fault; it takes some milliseconds."""


class Overview:
    """Looks at the parts when somebody asks; owns nothing."""

    def __init__(  # noqa: PLR0913 (it looks at everything)
        self,
        *,
        plugins: Plugins,
        settings: Settings,
        metrics: Metrics,
        recorder: Recorder,
        pool: Pool,
        functions: FunctionCache,
        admission: AdmissionControl,
        delivery: Delivery,
    ) -> None:
        self._plugins = plugins
        self._settings = settings
        self._metrics = metrics
        self._recorder = recorder
        self._pool = pool
        self._admission = admission
        self._parts: list[Part] = []
        _register(metrics, recorder, pool, functions, admission, delivery)

    def watch(self, part: Part) -> None:
        """Tell what a part that a plugin has opened says of itself, too."""
        self._parts.append(part)
        self._metrics.include(part.metrics)

    def draining(self) -> bool:
        """See `Operations.draining`."""
        return self._admission.life >= Life.DRAINING

    def faults(self) -> Sequence[str]:
        """See `Operations.faults`."""
        life, recorder = self._admission.life, self._recorder
        found: list[str] = [] if life is Life.OPEN else [life.name.lower()]
        if recorder.spool_failure is not None:
            found.append(
                f"the spool of activation records can't be written ({recorder.spool_failure}): "
                "no further message is taken until it can"
            )
        if recorder.full and recorder.spool_failure is None:
            found.append(
                f"activation records can't be stored and {recorder.pending} wait: "
                "no further message is taken until the activation store works again"
            )
        elif recorder.failing:
            found.append(f"the activation store takes no records; {recorder.pending} wait")
        elif recorder.silence > _SILENCE:
            found.append(f"the activation store has not answered for {recorder.silence:.0f} s; {recorder.pending} wait")
        for part in self._parts:
            found.extend(part.faults())
        return found

    def metrics(self) -> bytes:
        """See `Operations.metrics`."""
        return self._metrics.exposed()

    def info(self) -> Mapping[str, object]:
        """See `Operations.info`."""
        roles = self._settings[RolesSettings]
        node = node_of(self._settings[NodeSettings], self._settings[PoolSettings])
        return {
            "name": str(node),
            "process": os.getpid(),
            "version": importlib.metadata.version("functions-invoker"),
            "phase": self._admission.life.name.lower(),
            "compat": roles.compat,
            "plugins": list(self._plugins.active),
            "memory": {"total": node.memory, "used": self._pool.memory_used},
            "containers": {state.value: self._pool.count(state) for state in State},
            "waiting": self._pool.waiting,
        }

    def pool(self) -> Mapping[str, object]:
        """See `Operations.pool`: a `PoolSnapshot`."""
        snapshot: Mapping[str, object] = msgspec.to_builtins(self._pool.snapshot(), enc_hook=int)  # a `ByteSize` is one
        return snapshot


def _register(
    metrics: Metrics,
    recorder: Recorder,
    pool: Pool,
    functions: FunctionCache,
    admission: AdmissionControl,
    delivery: Delivery,
) -> None:
    """Describe what is asked for when somebody looks. Upstream's names where it has one (spec 12.4, 12.7)."""
    _register_pool(metrics, pool)
    recorder.batch_sizes = metrics.histogram(
        "histogram_database_batchSize_counter", "Records in a write", NUMBERS
    ).observe
    metrics.reading("counter_database_cacheHit_counter", "Functions found in the cache", lambda: functions.hits)
    metrics.reading("counter_database_cacheMiss_counter", "Functions fetched", lambda: functions.misses)
    metrics.reading("counter_invoker_records_stored", "Activation records stored", lambda: recorder.stored)
    metrics.reading("counter_invoker_records_refused", "Records the store will never take", lambda: recorder.refused)
    metrics.reading(
        "counter_invoker_messages_malformed", "Messages that could not be read", lambda: admission.refused_malformed
    )
    metrics.labelled_reading(
        "counter_invoker_messages_busy",
        "Messages turned away, for want of what",
        "reason",
        lambda: admission.refused_busy,
    )
    metrics.reading(
        "counter_invoker_answers_undelivered", "Answers that no transport delivered", lambda: delivery.undelivered
    )
    metrics.gauge("gauge_invoker_records_pending", "Records that wait for the store", lambda: recorder.pending)
    metrics.gauge("gauge_invoker_records_pending_bytes", "Their size", lambda: recorder.pending_bytes)
    metrics.gauge("gauge_invoker_records_age_seconds", "Since the oldest of them began", lambda: recorder.age)
    metrics.gauge("gauge_invoker_spool_bytes", "Bytes of the spool", lambda: recorder.spool_bytes)
    metrics.reading("counter_invoker_spool_replayed", "Records read from the spool", lambda: recorder.replayed)
    metrics.gauge(
        "gauge_invoker_messages_waiting_bytes",
        "Messages without a container yet or on their way, and answers on theirs",
        lambda: admission.waiting_bytes,
    )
    metrics.gauge("gauge_invoker_activations_running", "Activations that have not ended", lambda: admission.running)
    metrics.gauge("gauge_invoker_function_cache_bytes", "Code in the cache", lambda: functions.size)


_ACTIVE = (State.BUSY, State.RESUMING)
_IDLE = (State.IDLE, State.PAUSING, State.PAUSED)
"""Upstream's pool tells containers apart by whether an activation has them, paused or not."""


def _register_pool(metrics: Metrics, pool: Pool) -> None:
    """Describe containers. The reasons are a fixed set: they make safe labels."""

    def counted(name: str, text: str, *states: State) -> None:
        metrics.gauge(f"gauge_containerPool_{name}_counter", text, lambda: sum(map(pool.count, states)))

    metrics.labelled_reading(
        "counter_invoker_coldStart_counter",
        "Activations that no warm container served, by why",
        "reason",
        lambda: {reason.value: pool.starts.get(reason, 0) for reason in StartReason},
    )
    metrics.labelled_reading(
        "counter_invoker_wait_counter",
        "Activations that waited for a container, by why",
        "reason",
        lambda: {reason.value: pool.waits.get(reason, 0) for reason in WaitReason},
    )
    metrics.gauge("gauge_containerPool_runBufferCount_counter", "Activations without a container", lambda: pool.waiting)
    metrics.gauge("gauge_containerPool_memory_bytes", "Memory of all containers", lambda: pool.memory_used)
    counted("activeCount", "Containers at work", *_ACTIVE)
    counted("idlesCount", "Containers that wait for work, paused ones included", *_IDLE)
    counted("pausedCount", "Containers that are paused", State.PAUSED)
    counted("prewarmCount", "Containers that were started ahead of any activation", State.PREWARMED)
