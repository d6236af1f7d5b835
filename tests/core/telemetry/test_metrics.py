"""Metrics as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from invoker.telemetry import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.exposed().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_counter_counts_for_each_value_of_its_label() -> None:
    metrics = Metrics()
    children = metrics.counter("counter_starts", "Starts", "state", ["cold", "warm"])

    children["warm"].value += 2

    found = samples(metrics)
    assert found[("counter_starts_total", frozenset({("state", "warm")}))] == 2
    assert found[("counter_starts_total", frozenset({("state", "cold")}))] == 0


def test_a_histogram_has_cumulated_buckets_with_inclusive_bounds() -> None:
    metrics = Metrics()
    histogram = metrics.histogram("histogram_times", "Times", (0.1, 1))

    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe(value)

    found = samples(metrics)
    assert found[("histogram_times_bucket", frozenset({("le", "0.1")}))] == 2
    assert found[("histogram_times_bucket", frozenset({("le", "1.0")}))] == 3
    assert found[("histogram_times_bucket", frozenset({("le", "+Inf")}))] == 4
    assert found[("histogram_times_count", frozenset())] == 4
    assert found[("histogram_times_sum", frozenset())] == 7.65


def test_numbers_that_others_keep_are_read_when_somebody_looks() -> None:
    metrics = Metrics()
    kept = {"hits": 3, "waiting": 5}
    metrics.reading("counter_hits", "Hits", lambda: kept["hits"])
    metrics.gauge("gauge_waiting", "Waiting", lambda: kept["waiting"])

    kept["hits"] += 1

    found = samples(metrics)
    assert found[("counter_hits_total", frozenset())] == 4
    assert found[("gauge_waiting", frozenset())] == 5


def test_numbers_by_reason_that_others_keep_are_read_when_somebody_looks() -> None:
    metrics = Metrics()
    kept = {"new": 1, "busy": 0}
    metrics.labelled_reading("counter_starts", "Starts", "reason", lambda: kept)

    kept["busy"] += 2

    found = samples(metrics)
    assert found[("counter_starts_total", frozenset({("reason", "new")}))] == 1
    assert found[("counter_starts_total", frozenset({("reason", "busy")}))] == 2


def test_no_created_series_are_exposed() -> None:
    metrics = Metrics()
    metrics.histogram("histogram_times", "Times", (1,)).observe(0.5)

    assert "_created" not in metrics.exposed().decode()
