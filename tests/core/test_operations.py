"""What operators are told, from parts that run."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from invoker.config import (
    FunctionsSettings,
    IntakeSettings,
    LimitsSettings,
    LogsSettings,
    NodeSettings,
    PoolSettings,
    RecordingSettings,
    RolesSettings,
    Settings,
)
from invoker.contracts import ContainerRuntime, MetricFamily
from invoker.functions import function_cache
from invoker.invocation.admission import AdmissionControl, Life
from invoker.invocation.delivery import Delivery
from invoker.operations import Overview
from invoker.plugins import Plugins
from invoker.pool import Pool, PoolSnapshot, container_pool
from invoker.recording import Recorder
from invoker.telemetry import ActivationTelemetry, Metrics
from invoker.testing.builders import a_request, an_executable
from invoker.testing.containers import KINDS, FakeRuntime
from invoker.testing.stores import MemoryActivations, MemoryStore
from invoker_attached_logs.follower import AttachedLogs


class DaemonRuntime(FakeRuntime):
    """One that needs something that may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def faults(self) -> Sequence[str]:
        return self.wrong

    def metrics(self) -> Sequence[MetricFamily]:
        samples = (({"state": "up"}, 1.0), ({"state": "down"}, len(self.wrong)))
        return (
            MetricFamily("gauge_daemon_state", "gauge", "How it is", samples),
            MetricFamily("counter_daemon_calls", "counter", "Calls", (({}, 7.0),)),
        )


@asynccontextmanager
async def an_overview(runtime: ContainerRuntime) -> AsyncIterator[tuple[Overview, Pool]]:
    """Run what there is to look at, of an invoker that is open."""
    limits, pool_settings, node = LimitsSettings(), PoolSettings(), NodeSettings()
    recorder = Recorder(MemoryActivations(), RecordingSettings())
    async with (
        container_pool(
            runtime, AttachedLogs("openwhisk"), pool_settings, node=node, limits=limits, runtimes=KINDS
        ) as pool,
        function_cache(MemoryStore(), KINDS, FunctionsSettings(), exact=False) as cache,
    ):
        intake, metrics, records = IntakeSettings(), Metrics(), RecordingSettings()
        admission = AdmissionControl(recorder, intake, limits)
        admission.life = Life.OPEN
        telemetry = ActivationTelemetry(metrics, None)
        overview = Overview(
            plugins=Plugins(RolesSettings(), LogsSettings()),
            settings=Settings.of(RolesSettings(), node, pool_settings),
            metrics=metrics,
            recorder=recorder,
            pool=pool,
            functions=cache,
            admission=admission,
            delivery=Delivery(recorder, (), telemetry, admission, records, compat="openwhisk", timeout=1),
        )
        overview.watch(runtime)
        yield overview, pool


def number(overview: Overview, name: str) -> float:
    """Return what a metric says."""
    (line,) = (line for line in overview.metrics().decode().splitlines() if line.startswith(f"{name} "))
    return float(line.removeprefix(f"{name} "))


async def test_the_faults_of_what_starts_containers_are_the_invokers_own() -> None:
    runtime = DaemonRuntime()

    async with an_overview(runtime) as (overview, _):
        before = overview.faults()
        runtime.wrong = ["the daemon does not answer"]
        during = overview.faults()
        overview._admission.life = Life.DRAINING
        draining = overview.faults()
        runtime.wrong = []
        overview._admission.life = Life.OPEN
        after = overview.faults()

    assert before == after == []
    assert during == ["the daemon does not answer"]
    assert draining == ["draining", "the daemon does not answer"]


async def test_the_faults_and_metrics_of_whatever_part_is_watched_are_told() -> None:
    late = DaemonRuntime()
    late.wrong = ["a transport without a broker"]

    async with an_overview(FakeRuntime()) as (overview, _):
        overview.watch(late)
        found = overview.metrics().decode().splitlines()
        faults = overview.faults()

    assert faults == ["a transport without a broker"]
    assert "# HELP gauge_daemon_state How it is" in found
    assert "# TYPE gauge_daemon_state gauge" in found
    assert 'gauge_daemon_state{state="down"} 1.0' in found
    assert "counter_daemon_calls_total 7.0" in found


async def test_the_names_that_dashboards_know_are_there() -> None:
    """Spec 12.4, 12.7."""
    async with an_overview(FakeRuntime()) as (overview, _):
        found = overview.metrics().decode()

    assert "\ncounter_invoker_answers_undelivered_total 0.0" in found
    assert "\ngauge_invoker_messages_waiting_bytes 0.0" in found


async def test_a_runtime_that_does_not_fail_as_a_whole_has_no_faults() -> None:
    async with an_overview(FakeRuntime()) as (overview, _):
        assert overview.faults() == []


async def test_the_pool_is_told_in_plain_values() -> None:
    async with an_overview(FakeRuntime()) as (overview, pool):
        async with pool.lease(an_executable(), a_request()) as lease:
            busy = overview.pool()
            lease.initialised(None)
            lease.keep = True
        idle = msgspec.convert(overview.pool(), PoolSnapshot)

    (container,) = msgspec.convert(busy, PoolSnapshot).containers
    assert msgspec.json.decode(msgspec.json.encode(busy), type=PoolSnapshot) == msgspec.convert(busy, PoolSnapshot)
    assert (container.state, container.reason, container.activations) == ("busy", "new", 1)
    assert [one.state for one in idle.containers] == ["idle"]


async def test_cold_starts_are_counted_by_reason() -> None:
    name = "counter_invoker_coldStart_counter_total"
    executable = an_executable()

    async with an_overview(FakeRuntime()) as (overview, pool):
        before = overview.metrics()
        for _ in range(3):
            async with pool.lease(executable, a_request()):
                pass  # and it is not kept
        found = [number(overview, f'{name}{{reason="{reason}"}}') for reason in ("new", "died", "expired")]

    assert before.count(f"\n{name}{{".encode()) == 9
    assert b'counter_invoker_wait_counter_total{reason="memory"} 0.0' in before
    assert b'counter_invoker_wait_counter_total{reason="sooner"} 0.0' in before
    assert found == [1, 2, 0]


async def test_containers_are_counted_by_what_they_do() -> None:
    gauge = "gauge_containerPool_{}_counter"

    async with an_overview(FakeRuntime()) as (overview, pool):
        async with pool.lease(an_executable(), a_request()) as lease:
            busy = [number(overview, gauge.format(each)) for each in ("activeCount", "idlesCount")]
            lease.initialised(None)
            lease.keep = True
        idle = [number(overview, gauge.format(each)) for each in ("activeCount", "idlesCount")]
        others = [number(overview, gauge.format(each)) for each in ("pausedCount", "prewarmCount", "runBufferCount")]

    assert busy == [1, 0]
    assert idle == [0, 1]
    assert others == [0, 0, 0]
