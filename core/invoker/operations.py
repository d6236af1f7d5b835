"""What operators see: health, metrics, and what runs here (`contracts.Operations`)."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Literal

from invoker.config import NodeSettings, PoolSettings, RolesSettings, Settings, node_of
from invoker.functions import FunctionCache
from invoker.invocation.door import Door
from invoker.plugins import Plugins
from invoker.pool import Pool
from invoker.pool.slot import State
from invoker.recording import Recorder
from invoker.telemetry import Metrics
from invoker.telemetry.metrics import NUMBERS


class Overview:
    """Looks at the parts when somebody asks; owns nothing but the phase."""

    def __init__(  # noqa: PLR0913 (it looks at everything)
        self,
        *,
        plugins: Plugins,
        settings: Settings,
        metrics: Metrics,
        recorder: Recorder,
        pool: Pool,
        functions: FunctionCache,
        door: Door,
    ) -> None:
        self._plugins = plugins
        self._settings = settings
        self._metrics = metrics
        self._recorder = recorder
        self._pool = pool
        self.phase: Literal["starting", "running", "stopping"] = "starting"
        """Set by `app`, which alone knows."""
        _register(metrics, recorder, pool, functions, door)

    def faults(self) -> Sequence[str]:
        """See `Operations.faults`."""
        found: list[str] = [] if self.phase == "running" else [self.phase]
        if self._recorder.full:
            found.append(
                f"activation records can't be stored and {self._recorder.pending} wait: "
                "no further message is taken until the activation store works again"
            )
        elif self._recorder.failing:
            found.append(f"the activation store takes no records; {self._recorder.pending} wait")
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
            "version": importlib.metadata.version("functions-invoker"),
            "phase": self.phase,
            "compat": roles.compat,
            "plugins": list(self._plugins.active),
            "memory": {"total": node.memory, "used": self._pool.memory_used},
            "containers": {state.value: self._pool.count(state) for state in State},
            "waiting": self._pool.waiting,
        }


def _register(metrics: Metrics, recorder: Recorder, pool: Pool, functions: FunctionCache, door: Door) -> None:
    """Describe what is asked for when somebody looks. Upstream's names where it has one (spec 12.4, 12.7)."""
    recorder.batch_sizes = metrics.histogram(
        "histogram_database_batchSize_counter", "Records in a write", NUMBERS
    ).observe
    metrics.reading("counter_database_cacheHit_counter", "Functions found in the cache", lambda: functions.hits)
    metrics.reading("counter_database_cacheMiss_counter", "Functions fetched", lambda: functions.misses)
    metrics.reading("counter_invoker_records_stored", "Activation records stored", lambda: recorder.stored)
    metrics.reading("counter_invoker_records_refused", "Records the store will never take", lambda: recorder.refused)
    metrics.reading(
        "counter_invoker_messages_malformed", "Messages that could not be read", lambda: door.refused_malformed
    )
    metrics.reading("counter_invoker_messages_busy", "Messages turned away for lack of room", lambda: door.refused_busy)
    metrics.gauge("gauge_invoker_records_pending", "Records that wait for the store", lambda: recorder.pending)
    metrics.gauge("gauge_invoker_records_pending_bytes", "Their size", lambda: recorder.pending_bytes)
    metrics.gauge(
        "gauge_invoker_messages_waiting_bytes", "Messages without a container yet", lambda: door.waiting_bytes
    )
    metrics.gauge("gauge_invoker_activations_running", "Activations that have not ended", lambda: door.inside)
    metrics.gauge("gauge_invoker_function_cache_bytes", "Code in the cache", lambda: functions.size)
    metrics.gauge("gauge_containerPool_runBufferCount_counter", "Activations waiting for memory", lambda: pool.waiting)
    metrics.gauge("gauge_containerPool_memory_bytes", "Memory of all containers", lambda: pool.memory_used)
    metrics.gauge("gauge_containerPool_activeCount_counter", "Containers at work", lambda: pool.count(State.BUSY))
    metrics.gauge(
        "gauge_containerPool_idlesCount_counter", "Containers that wait for work", lambda: pool.count(State.IDLE)
    )
