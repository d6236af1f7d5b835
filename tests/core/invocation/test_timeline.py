"""Start, end and duration as records have them (spec 8.3)."""

from collections.abc import Callable

from invoker.invocation.timeline import Timeline


def clock_at(*milliseconds: int) -> Callable[[], int]:
    moments = iter(milliseconds)
    return lambda: next(moments) * 1_000_000


def test_a_warm_run_lasts_as_long_as_its_run() -> None:
    timeline = Timeline(clock_at(100))
    timeline.run_start, timeline.run_end = 150, 190

    assert timeline.span() == (150, 190)
    assert (timeline.init_time, timeline.run_time, timeline.work_start) == (None, 40, 150)


def test_a_cold_run_leaves_out_the_time_between_init_and_run() -> None:
    """Spec 8.3.3, T68: end - start is init + run."""
    timeline = Timeline(clock_at(100))
    timeline.init_start, timeline.init_end = 150, 240
    timeline.run_start, timeline.run_end = 250, 400

    assert timeline.span() == (160, 400)
    assert (timeline.init_time, timeline.work_start) == (90, 150)


def test_a_failed_init_is_all_there_was() -> None:
    timeline = Timeline(clock_at(100))
    timeline.init_start, timeline.init_end = 150, 240

    assert timeline.span() == (150, 240)


def test_without_a_container_it_starts_and_ends_now() -> None:
    timeline = Timeline(clock_at(100, 107))

    assert timeline.span() == (107, 107)


def test_a_broken_off_run_ends_when_it_was_broken_off() -> None:
    timeline = Timeline(clock_at(100, 180))
    timeline.run_start = 150

    timeline.cut_off()

    assert timeline.span() == (150, 180)


def test_a_clock_that_is_set_back_makes_no_negative_duration() -> None:
    timeline = Timeline(clock_at(100))
    timeline.run_start, timeline.run_end = 150, 140

    assert timeline.run_time == 0
    assert timeline.span() == (150, 150)
