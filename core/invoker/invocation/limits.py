"""Whether an action's limits are allowed here, and for this caller (spec 6.6.3, 11.1)."""

from functools import lru_cache

from invoker.config import Compat, LimitsSettings
from invoker.entities.function import Limits
from invoker.entities.request import NARROWS_NOTHING, CallerLimits

_REFUSED = "requirement failed: "
"""What upstream's language puts before such texts (spec 11.1)."""


class LimitsCheck:
    """The system's limits. `pool_memory` is in bytes: a larger function could never run (spec T80)."""

    def __init__(self, system: LimitsSettings, pool_memory: int, compat: Compat) -> None:
        self._system = system
        self._max_memory = min(system.max_memory, pool_memory >> 20)
        self._logs_scale = 1 if compat == "openwhisk" else 1024  # documents count logs in KB there (spec T30)
        self._by_system = lru_cache(maxsize=1024)(lambda limits: self._check(limits, NARROWS_NOTHING))
        """Most callers narrow nothing, and most actions have one of a few sets of limits."""
        self._log_unit = "MB" if compat == "openwhisk" else "KB"

    def violation(self, limits: Limits, caller: CallerLimits) -> str | None:
        """Return the text of the first limit that is broken, in upstream's order, or `None`."""
        if caller is NARROWS_NOTHING:
            return self._by_system(limits)
        return self._check(limits, caller)

    def _check(self, limits: Limits, caller: CallerLimits) -> str | None:
        system = self._system
        return (
            _outside(
                limits.timeout,
                _highest(system.min_timeout, caller.min_timeout),
                _lowest(system.max_timeout, caller.max_timeout),
                what="duration",
                unit=" milliseconds",
            )
            or _outside(
                limits.memory,
                _highest(system.min_memory, caller.min_memory),
                _lowest(self._max_memory, caller.max_memory),
                what="memory size",
                unit=" MB",
            )
            or _outside(
                limits.concurrency,
                _highest(system.min_concurrency, caller.min_concurrency),
                _lowest(system.max_concurrency, caller.max_concurrency),
                what="concurrency",
                unit="",
            )
            or _outside(
                limits.logs,
                _highest(system.min_logs * self._logs_scale, caller.min_logs),
                _lowest(system.max_logs * self._logs_scale, caller.max_logs),
                what="log size",
                unit=f" {self._log_unit}",
            )
        )


def _highest(system: int, caller: int | None) -> int:
    return system if caller is None else max(system, caller)


def _lowest(system: int, caller: int | None) -> int:
    return system if caller is None else min(system, caller)


def _outside(value: int, minimum: int, maximum: int, *, what: str, unit: str) -> str | None:
    """Bounds are inclusive (spec 6.6.3)."""
    if value > maximum:
        return f"{_REFUSED}{what} {value}{unit} exceeds allowed threshold of {maximum}{unit}"
    if value < minimum:
        return f"{_REFUSED}{what} {value}{unit} below allowed threshold of {minimum}{unit}"
    return None
