"""What the invoker says about itself: metrics, and one wide log line for each activation."""

from invoker.telemetry.activations import COLD_START, ActivationTelemetry, Finished
from invoker.telemetry.log import LogWriter, log_writing
from invoker.telemetry.metrics import Counter, Histogram, Metrics

__all__ = [
    "COLD_START",
    "ActivationTelemetry",
    "Counter",
    "Finished",
    "Histogram",
    "LogWriter",
    "Metrics",
    "log_writing",
]
