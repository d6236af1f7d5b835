"""The metrics and the wide log line of activations."""

import time
from collections.abc import Callable, Mapping

import msgspec

from invoker.contracts import Admitted
from invoker.entities.activation import Activation, Status
from invoker.telemetry.log import LogWriter
from invoker.telemetry.metrics import BYTES, SECONDS, SECONDS_OF_WORK, Metrics

_STARTS = ("cold", "prewarm", "warm")
"""How an activation came by its container, as upstream and the Go variant call it (spec 12.7)."""

COLD_START = "coldStart"
"""The activation's note that says why no warm container served it."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say about an activation besides its record. Times are milliseconds."""

    activation: Activation
    admitted: Admitted
    container: str | None = None
    """Name of its container; `None` if it never had one."""
    start: str | None = None
    """How it came by its container, one of `_STARTS`; `None` if it never had one."""
    cold_start: str | None = None
    """Why no warm container served it, if none did."""
    run_time: int | None = None
    log_time: int | None = None


class ActivationLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The log line. Field names are those of the Go variant, where it has one (spec 12.7)."""

    timestamp: str = msgspec.field(name="@timestamp")
    level: str = msgspec.field(default="")
    message: str
    tid: str
    aid: str
    account: str
    namespace: str
    function: str
    via: str = msgspec.field(name="invokedVia")
    kind: str
    status: str = msgspec.field(name="activationStatus")
    container_type: str | None = msgspec.field(name="containerType", default=None)
    cold_start: str | None = msgspec.field(name=COLD_START, default=None)
    """Why it was not served by a warm container: the code of a `pool.StartReason`."""
    container: str | None = msgspec.field(name="cid", default=None)
    wait_time: int | None = msgspec.field(name="waitTime", default=None)
    init_time: int | None = msgspec.field(name="initTime", default=None)
    run_time: int | None = msgspec.field(name="runTime", default=None)
    log_time: int | None = msgspec.field(name="logTime", default=None)
    duration: int
    result_size: int | None = msgspec.field(name="resultSize", default=None)
    log_lines: int = msgspec.field(name="logLines", default=0)
    context: Mapping[str, str] = {}


class ActivationTelemetry:
    """Counts activations and logs them. Every child of a label is looked up once, here."""

    def __init__(self, metrics: Metrics, writer: LogWriter | None) -> None:
        """Without a `writer` nothing is logged."""
        self._writer = writer
        self._encode: Callable[[Finished], bytes] = as_text if writer is not None and writer.text else as_json
        self._started = metrics.counter("counter_invoker_activation_start", "Activations that were accepted")[""]
        self._init = metrics.histogram(
            "histogram_invoker_activationInit_finish_seconds", "Time in /init", SECONDS_OF_WORK
        )
        self._run = metrics.histogram("histogram_invoker_activationRun_finish_seconds", "Time in /run", SECONDS_OF_WORK)
        self._logs = metrics.histogram(
            "histogram_invoker_collectLogs_finish_seconds", "Time from the reply until the logs were complete", SECONDS
        )
        self._result_size = metrics.histogram(
            "histogram_activations_resultSize_counter_bytes", "Size of results", BYTES
        )
        self._log_size = metrics.histogram("histogram_activations_logsSize_counter_bytes", "Size of logs", BYTES)
        by_word = metrics.counter(
            "counter_activations_status_counter",
            "Activations by how they ended",
            "status",
            [status.word for status in Status],
        )
        self._by_status = [by_word[status.word] for status in Status]
        self._by_start = metrics.counter(
            "counter_invoker_containerStart_counter", "Containers that were used", "containerState", _STARTS
        )

    def started(self) -> None:
        """Count an activation that was accepted."""
        self._started.value += 1

    def finished(self, end: Finished) -> None:
        """Count and log an activation that has ended."""
        activation = end.activation
        self._by_status[activation.outcome.status].value += 1
        start = end.start
        if start is not None:
            self._by_start[start].value += 1
        if activation.init_time is not None:
            self._init.observe(activation.init_time / 1000)
        if end.run_time is not None:
            self._run.observe(end.run_time / 1000)
        if end.log_time is not None:
            self._logs.observe(end.log_time / 1000)
        self._result_size.observe(memoryview(activation.outcome.response).nbytes)
        self._log_size.observe(sum(map(len, activation.logs)) if activation.logs else 0)
        if self._writer is not None:
            self._writer.line(self._encode(end))


def as_json(end: Finished) -> bytes:
    """Encode a line for machines."""
    activation = end.activation
    status = activation.outcome.status
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    line = ActivationLine(
        timestamp=f"{_second(seconds)}.{nanoseconds // 1_000_000:03d}Z",
        level="warning" if status is Status.WHISK_ERROR else "info",
        message="invocation completed",
        tid=end.admitted.request.transaction.id,
        aid=activation.activation_id,
        account=activation.subject,
        namespace=activation.namespace,
        function=activation.path,
        via=end.admitted.via,
        kind=activation.kind,
        status=status.word,
        container_type=end.start,
        cold_start=end.cold_start,
        container=end.container,
        wait_time=activation.wait_time,
        init_time=activation.init_time,
        run_time=end.run_time,
        log_time=end.log_time,
        duration=activation.end - activation.start,
        result_size=activation.outcome.size,
        log_lines=len(activation.logs),
        context=end.admitted.context or {},
    )
    return _encoder.encode(line) + b"\n"


_encoder = msgspec.json.Encoder(enc_hook=dict)
_known_second = (0, "")


def _second(seconds: int) -> str:
    """Format a second, once for all lines of it."""
    global _known_second  # noqa: PLW0603 (a cache of one; formatting costs more than the rest of the line)
    if _known_second[0] != seconds:
        _known_second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
    return _known_second[1]


def as_text(end: Finished) -> bytes:
    """Encode a line for a person."""
    activation = end.activation
    start = "" if end.start is None else f" {end.start}"
    why = "" if end.cold_start is None else f" ({end.cold_start})"
    clock = time.strftime("%H:%M:%S")
    return (
        f"{clock} info    {activation.outcome.status.word} {activation.namespace} /{activation.path} "
        f"{activation.duration} ms{start}{why} {activation.activation_id}\n"
    ).encode("utf-8", "backslashreplace")
