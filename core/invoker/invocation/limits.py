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
        system, scale = self._system, self._logs_scale
        time, memory = (system.min_timeout, system.max_timeout), (system.min_memory, self._max_memory)
        logs = (system.min_logs * scale, system.max_logs * scale)
        shared = (system.min_concurrency, system.max_concurrency)
        violations = (
            _outside("duration", " milliseconds", limits.timeout, time, caller.min_timeout, caller.max_timeout),
            _outside("memory size", " MB", limits.memory, memory, caller.min_memory, caller.max_memory),
            _outside("concurrency", "", limits.concurrency, shared, caller.min_concurrency, caller.max_concurrency),
            _outside("log size", f" {self._log_unit}", limits.logs, logs, caller.min_logs, caller.max_logs),
        )
        return next((text for text in violations if text is not None), None)


def _outside(
    what: str, unit: str, value: int, system: tuple[int, int], at_least: int | None, at_most: int | None
) -> str | None:
    """Bounds are inclusive (spec 6.6.3); a caller may narrow the system's, not widen them."""
    minimum = system[0] if at_least is None else max(system[0], at_least)
    maximum = system[1] if at_most is None else min(system[1], at_most)
    if value > maximum:
        return f"{_REFUSED}{what} {value}{unit} exceeds allowed threshold of {maximum}{unit}"
    if value < minimum:
        return f"{_REFUSED}{what} {value}{unit} below allowed threshold of {minimum}{unit}"
    return None
