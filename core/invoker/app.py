"""The program: which parts there are and in which order they open. Downwards it starts, upwards it stops."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

import msgspec

from invoker.config import (
    EncryptionSettings,
    FunctionsSettings,
    IntakeSettings,
    LimitsSettings,
    LogsSettings,
    NodeSettings,
    PoolSettings,
    RecordingSettings,
    RolesSettings,
    RuntimesSettings,
    Settings,
    ShutdownSettings,
    TelemetrySettings,
    node_of,
)
from invoker.contracts import Admission, ContainerRuntime, FunctionStore, LogExtractor
from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError
from invoker.functions import function_cache
from invoker.invocation.door import Door
from invoker.invocation.execution import Execution
from invoker.invocation.invoker import Invoker
from invoker.invocation.limits import LimitsCheck
from invoker.invocation.outcome import Outcomes
from invoker.invocation.reporting import Reporting
from invoker.operations import Overview
from invoker.plugins import Plugins
from invoker.pool import Pool, container_pool
from invoker.presence import announced
from invoker.recording import Recorder, recording
from invoker.telemetry import ActivationTelemetry, LogWriter, Metrics
from invoker.wire import manifest
from invoker.wire.locked import Keys

T = TypeVar("T")

logger = logging.getLogger("invoker")


class Signals:
    """What the outside world wants. Set by whoever handles signals, awaited by `serve`."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        """Take no more work, finish what runs."""
        self.now = asyncio.Event()
        """Finish at once."""


class Stopped(msgspec.Struct, frozen=True):
    """How a run of the invoker ended."""

    broken_off: int
    """Activations that did not end within the grace; they were recorded and answered as system errors."""
    lost_records: int
    """Records that the store did not take in time."""


class Parts(msgspec.Struct, frozen=True):
    """An invoker without doors, ready to be given work."""

    invoker: Invoker
    overview: Overview
    recorder: Recorder
    pool: Pool


async def serve(plugins: Plugins, settings: Settings, signals: Signals, writer: LogWriter | None = None) -> Stopped:
    """Run until `signals.stop` is set; return how it ended.

    Whatever breaks in the background cancels the wait for the signal, so a failure leaves by the same road as a
    shutdown: no new work, running work finished, containers gone, records kept.
    """
    async with opened(plugins, settings, writer) as parts, AsyncExitStack() as doors:
        operators: str | None = None
        for name, transport in plugins.transports(settings, parts.invoker, parts.overview):
            await doors.enter_async_context(transport)  # from here on, work arrives
            logger.debug("transport %s is open", name)
        node = settings[NodeSettings]
        with announced(node, str(node_of(node, settings[PoolSettings])), operators):
            _settle_memory()
            parts.overview.phase = "running"
            _tell_ready(settings)
            await signals.stop.wait()
            parts.overview.phase = "stopping"
            await _close(doors, parts.invoker, settings, signals)
    stopped = Stopped(parts.invoker.broken_off, parts.recorder.lost)
    _tell_stopped(stopped)
    return stopped


def _tell_ready(settings: Settings) -> None:
    """Say who takes work now, and what it runs with."""
    node, roles = node_of(settings[NodeSettings], settings[PoolSettings]), settings[RolesSettings]
    memory = str(settings[PoolSettings].memory)
    logger.info(
        "ready: %s, %s for containers, runtime %s",
        node,
        memory,
        roles.runtime,
        extra={"event": "ready", "invoker": str(node), "memory": memory, "runtime": roles.runtime},
    )


def _tell_stopped(stopped: Stopped) -> None:
    """Say the last word: how it ended."""
    logger.info(
        "stopped; activations broken off: %d, activation records lost: %d",
        stopped.broken_off,
        stopped.lost_records,
        extra={"event": "stopped"},
    )


def _settle_memory() -> None:
    """Spare the garbage collector what lives as long as the program, and let it come less often.

    An invocation leaves no cycles: what it makes is freed as it ends. A collection every 700 objects, the default,
    finds nothing and makes the tail long. A container does leave some, 8 to 67 kB when it has gone: at 50,000 objects
    and 20 collections until the next older generation memory grew by 1.9 MB in 230 cold starts, with no end in sight.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 4, 4)


async def _close(doors: AsyncExitStack, invoker: Invoker, settings: Settings, signals: Signals) -> None:
    """Close the doors. What still runs when the grace is over, or at a second signal, is broken off and answered."""
    allowed = settings[ShutdownSettings].grace
    grace = float(allowed) if allowed is not None else settings[LimitsSettings].max_timeout / 1000
    logger.info("stopping: no new work, at most %g s for what runs", grace)
    async with asyncio.TaskGroup() as tasks:
        limit = tasks.create_task(_break_off_after(grace, invoker, signals), name="shutdown grace")
        try:
            await doors.aclose()
        finally:
            limit.cancel()


async def _break_off_after(grace: float, invoker: Invoker, signals: Signals) -> None:
    why = "a second signal came"
    try:
        async with asyncio.timeout(grace):
            await signals.now.wait()
    except TimeoutError:
        why = f"the grace of {grace:g} s is over"
    before = invoker.broken_off
    invoker.break_off()
    logger.warning("%s: activations that are broken off: %d", why, invoker.broken_off - before)


@asynccontextmanager
async def opened(
    plugins: Plugins,
    settings: Settings,
    writer: LogWriter | None = None,
    *,
    functions: FunctionStore | None = None,
    ahead: bool = True,
) -> AsyncIterator[Parts]:
    """Open all but the doors. `functions` replaces the store of the settings; not `ahead`, there are no stem cells."""
    compat = settings[RolesSettings].compat
    limits = settings[LimitsSettings]
    keys = _keys(settings)
    async with (
        plugins.activation_store(settings) as activations,
        recording(activations, settings[RecordingSettings]) as recorder,
        plugins.function_store(settings) if functions is None else _given(functions) as store,
        plugins.container_runtime(settings) as runtime,
        plugins.log_extractor(settings) as logs,
        _given(await kinds_of(settings, runtime)) as kinds,
        _pool(settings, runtime, logs, kinds, ahead=ahead) as pool,
        function_cache(store, kinds, settings[FunctionsSettings], exact=compat == "functions") as cache,
        _admissions(plugins, settings) as admissions,
    ):
        outcomes = Outcomes(compat)
        door = Door(recorder, settings[IntakeSettings], limits)
        metrics = Metrics()
        invoker = Invoker(
            door=door,
            admissions=admissions,
            functions=cache,
            keys=keys,
            limits=LimitsCheck(limits, settings[PoolSettings].memory, compat),
            pool=pool,
            execution=Execution(outcomes, settings[LogsSettings], limits, compat),
            outcomes=outcomes,
            reporting=_reporting(plugins, settings, recorder, metrics, writer),
        )
        overview = Overview(
            plugins=plugins,
            settings=settings,
            metrics=metrics,
            recorder=recorder,
            runtime=runtime,
            pool=pool,
            functions=cache,
            door=door,
        )
        yield Parts(invoker, overview, recorder, pool)


@asynccontextmanager
async def _given(part: T) -> AsyncIterator[T]:
    """Open what needs no opening."""
    yield part


def _pool(
    settings: Settings, runtime: ContainerRuntime, logs: LogExtractor, kinds: Runtimes, *, ahead: bool
) -> AbstractAsyncContextManager[Pool]:
    """Return the pool. Where work does not go on, nothing is done ahead: no stem cells, and nothing is paused."""
    containers, node, limits = settings[PoolSettings], settings[NodeSettings], settings[LimitsSettings]
    if not ahead:
        containers = msgspec.structs.replace(containers, pause=False)
        kinds = kinds.without_prewarm()
    return container_pool(runtime, logs, containers, node=node, limits=limits, runtimes=kinds)


def _reporting(
    plugins: Plugins, settings: Settings, recorder: Recorder, metrics: Metrics, writer: LogWriter | None
) -> Reporting:
    telemetry = ActivationTelemetry(metrics, writer if settings[TelemetrySettings].activations else None)
    observers = plugins.activation_finished if plugins.has_observers else None
    return Reporting(recorder, telemetry, observers, settings[RecordingSettings], settings[RolesSettings].compat)


@asynccontextmanager
async def _admissions(plugins: Plugins, settings: Settings) -> AsyncIterator[Sequence[Admission]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opening) for _, opening in plugins.admissions(settings)]


async def kinds_of(settings: Settings, runtime: ContainerRuntime) -> Runtimes:
    """Return the kinds that can be run: the operator's manifest, or else what the runtime offers of its own accord.

    Keys of the manifest that nothing asks for are logged, and so is what the runtime lacks for its kinds.

    Raises:
        SettingsError: the manifest can't be used.
        StartFailed: the runtime can't be used.
    """
    kinds = _manifest(settings, logger.warning)
    if kinds is None:
        return runtime.runtimes()
    for lack in await runtime.lacking(kinds):
        logger.warning("%s", lack)
    return kinds


def verify(settings: Settings) -> Sequence[str]:
    """Check what can be told of the core's settings without opening anything; return what should be put right.

    Raises:
        SettingsError: a key is none, or the manifest can't be read.
    """
    warnings: list[str] = []
    _keys(settings)
    _manifest(settings, warnings.append)
    return warnings


def _keys(settings: Settings) -> Keys:
    passed = settings[RolesSettings].compat == "openwhisk"  # unknown schemes, as they are (spec 7.1.7)
    return Keys(settings[EncryptionSettings].keys, unknown="pass" if passed else "refuse")


def _manifest(settings: Settings, warn: Callable[[str], object]) -> Runtimes | None:
    """The operator's manifest, if there is one."""
    path = settings[RuntimesSettings].manifest
    if path is None:
        return None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"runtimes.manifest: can't read {path}: {error.strerror}"]) from error
    return manifest.read(text, str(path), warn=warn)
