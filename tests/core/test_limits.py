"""The limits an action is checked against when it is invoked (spec 6.6.3, 11.1)."""

import pytest

from invoker.config import LimitsSettings
from invoker.entities.function import Limits
from invoker.entities.request import CallerLimits
from invoker.functions import LimitsCheck

ANY = CallerLimits()
POOL = 2 << 30


def check(limits: Limits, caller: CallerLimits = ANY, *, pool: int = POOL) -> str | None:
    return LimitsCheck(LimitsSettings(), pool, "openwhisk").violation(limits, caller)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(timeout=300_001), "duration 300001 milliseconds exceeds allowed threshold of 300000 milliseconds"),
        (Limits(timeout=99), "duration 99 milliseconds below allowed threshold of 100 milliseconds"),
        (Limits(memory=1024), "memory size 1024 MB exceeds allowed threshold of 512 MB"),
        (Limits(memory=64), "memory size 64 MB below allowed threshold of 128 MB"),
        (Limits(logs=11), "log size 11 MB exceeds allowed threshold of 10 MB"),
        (Limits(concurrency=4), "concurrency 4 exceeds allowed threshold of 1"),
        (Limits(concurrency=0), "concurrency 0 below allowed threshold of 1"),
    ],
)
def test_each_limit_is_named_in_upstreams_words(limits: Limits, text: str) -> None:
    assert check(limits) == f"requirement failed: {text}"


@pytest.mark.parametrize(
    "limits", [Limits(timeout=100, memory=128, logs=0), Limits(timeout=300_000, memory=512, logs=10)]
)
def test_bounds_are_inclusive(limits: Limits) -> None:
    assert check(limits) is None


def test_time_comes_before_memory_before_concurrency_before_logs() -> None:
    assert "duration" in str(check(Limits(timeout=1, memory=1, logs=99, concurrency=9)))
    assert "memory" in str(check(Limits(memory=1, logs=99, concurrency=9)))
    assert "concurrency" in str(check(Limits(logs=99, concurrency=9)))


def test_a_caller_may_narrow_a_limit_but_not_widen_it() -> None:
    narrow = CallerLimits(max_memory=256, min_timeout=1000)
    wide = CallerLimits(max_memory=4096)

    assert (
        check(Limits(memory=257), narrow)
        == "requirement failed: memory size 257 MB exceeds allowed threshold of 256 MB"
    )
    assert "below allowed threshold of 1000 milliseconds" in str(check(Limits(timeout=999), narrow))
    assert "threshold of 512 MB" in str(check(Limits(memory=1024), wide))


def test_a_function_larger_than_the_whole_pool_fails_at_once() -> None:
    """T80: it would wait for ever."""
    assert check(Limits(memory=256), pool=200 << 20) == (
        "requirement failed: memory size 256 MB exceeds allowed threshold of 200 MB"
    )


def test_functions_compatibility_counts_logs_in_kilobytes() -> None:
    """T30: documents mean KB there, the setting means MB."""
    checks = LimitsCheck(LimitsSettings(), POOL, "functions")

    assert checks.violation(Limits(logs=10_240), ANY) is None
    assert "log size 10241 KB exceeds" in str(checks.violation(Limits(logs=10_241), ANY))
