"""The program: which parts there are and in which order they open. Downwards it starts, upwards it stops."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

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
from invoker.contracts import Admission, ContainerRuntime, FunctionStore, LogExtractor, Observer, Opening, Part
from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError
from invoker.functions import FunctionCache, LimitsCheck, function_cache
from invoker.invocation.admission import AdmissionControl, Life
from invoker.invocation.delivery import Delivery
from invoker.invocation.execution import Execution
from invoker.invocation.invoker import Invoker
from invoker.operations import Overview
from invoker.plugins import Plugins
from invoker.pool import Pool, container_pool
from invoker.recording import Recorder, Spool, recording, spool_directory
from invoker.telemetry import ActivationTelemetry, LogWriter, Metrics
from invoker.wire import manifest
from invoker.wire.locked import Keys
from invoker.wire.outcome import Outcomes

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
    undelivered: int
    """Answers that transports did not take."""


class Core(msgspec.Struct, frozen=True):
    """An invoker without transports, ready to be given work."""

    invoker: Invoker
    overview: Overview
    recorder: Recorder
    pool: Pool
    admission: AdmissionControl
    delivery: Delivery


async def serve(plugins: Plugins, settings: Settings, signals: Signals, writer: LogWriter | None = None) -> Stopped:
    """Run until `signals.stop` is set; return how it ended.

    Whatever breaks in the background cancels the wait for the signal, so a failure leaves by the same road as a
    shutdown: no new work, running work finished and answered, containers gone, records kept.
    """
    async with opened(plugins, settings, writer) as core, transports(plugins, settings, core):
        _settle_memory()
        core.admission.life = Life.OPEN
        _tell_ready(settings)
        try:
            await signals.stop.wait()
        finally:
            await _drain(core, settings, signals)
    stopped = Stopped(core.invoker.broken_off, core.recorder.lost, core.delivery.undelivered)
    logger.info(
        "stopped; activations broken off: %d, activation records lost: %d, answers not delivered: %d",
        *(stopped.broken_off, stopped.lost_records, stopped.undelivered),
        extra={"event": "stopped"},
    )
    return stopped


@asynccontextmanager
async def transports(plugins: Plugins, settings: Settings, core: Core) -> AsyncIterator[None]:
    """Open the transports one after the other, in the order of the settings; close all of them at the same time."""
    leaving = asyncio.Event()

    async def run(name: str, opening: Opening[Part], opened: asyncio.Event) -> None:
        async with opening as transport:
            core.overview.watch(transport)
            logger.debug("transport %s is open", name)
            opened.set()
            await leaving.wait()

    async with asyncio.TaskGroup() as tasks:
        try:
            for name, opening in plugins.transports(settings, core.invoker, core.overview):
                opened = asyncio.Event()
                tasks.create_task(run(name, opening, opened), name=f"transport {name}")
                await opened.wait()  # which the group interrupts if it doesn't open
            yield
        finally:
            leaving.set()


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


def _settle_memory() -> None:
    """Spare the garbage collector what lives as long as the program, and let it come less often.

    An invocation leaves no cycles: what it makes is freed as it ends. A collection every 700 objects, the default,
    finds nothing and makes the tail long. A container does leave some, 8 to 67 kB when it has gone: at 50,000 objects
    and 20 collections until the next older generation memory grew by 1.9 MB in 230 cold starts, with no end in sight.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 4, 4)


async def _drain(core: Core, settings: Settings, signals: Signals) -> None:
    """Finish what was admitted. What still runs when the grace is over, or at a second signal, is broken off."""
    shutdown = settings[ShutdownSettings]
    grace = settings[LimitsSettings].max_timeout / 1000 if shutdown.grace is None else float(shutdown.grace)
    logger.info("stopping: no new work, at most %g s for what runs", grace)
    async with asyncio.TaskGroup() as tasks:
        limit = tasks.create_task(_break_off_after(grace, core.invoker, signals), name="shutdown grace")
        try:
            await core.invoker.drain()
        finally:
            limit.cancel()
    await core.invoker.close(shutdown.answers)


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
    lasting: bool = True,
) -> AsyncIterator[Core]:
    """Open all but the transports. `functions` replaces the store of the settings.

    Not `lasting`, for a call or two, it starts nothing ahead, pauses nothing, and leaves alone what an earlier life of
    this invoker may have left.
    """
    _keys(settings)  # before anything opens
    compat = settings[RolesSettings].compat
    exact = compat == "functions"
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await enter(plugins.clients(settings))
        activations = await enter(plugins.activation_store(settings))
        spool = Spool(spool_directory(settings[NodeSettings])) if lasting else None
        recorder = await enter(recording(activations, settings[RecordingSettings], compat, spool))
        store = functions if functions is not None else await enter(plugins.function_store(settings))
        runtime = await enter(plugins.container_runtime(settings))
        logs = await enter(plugins.log_extractor(settings))
        kinds = await kinds_of(settings, runtime)
        if lasting:
            await runtime.sweep()
        pool = await enter(_pool(settings, runtime, logs, kinds, lasting=lasting))
        cache = await enter(function_cache(store, kinds, settings[FunctionsSettings], exact=exact))
        judges = [await enter(opening) for _, opening in plugins.admissions(settings)]
        observers = [await enter(opening) for _, opening in plugins.observers(settings)]
        core = _assembled(
            plugins, settings, writer, recorder=recorder, pool=pool, functions=cache, judges=judges, observers=observers
        )
        for part in (activations, store, runtime, logs, *judges, *observers):
            core.overview.watch(part)
        try:
            yield core
        finally:  # what nobody waits for any more, such as after Ctrl-C
            core.invoker.break_off()
            await core.invoker.drain()
            await core.invoker.close(settings[ShutdownSettings].answers)


def _assembled(  # noqa: PLR0913 (all that there is)
    plugins: Plugins,
    settings: Settings,
    writer: LogWriter | None,
    *,
    recorder: Recorder,
    pool: Pool,
    functions: FunctionCache,
    judges: Sequence[Admission],
    observers: Sequence[Observer],
) -> Core:
    compat, limits, intake = settings[RolesSettings].compat, settings[LimitsSettings], settings[IntakeSettings]
    records, timeout = settings[RecordingSettings], intake.answer_timeout
    metrics, outcomes = Metrics(), Outcomes(compat)
    admission = AdmissionControl(recorder, intake, limits)
    telemetry = ActivationTelemetry(metrics, writer if settings[TelemetrySettings].activations else None)
    delivery = Delivery(recorder, observers, telemetry, admission, records, compat, timeout)
    invoker = Invoker(
        admission=admission,
        judges=judges,
        functions=functions,
        keys=_keys(settings),
        limits=LimitsCheck(limits, settings[PoolSettings].memory, compat),
        pool=pool,
        execution=Execution(outcomes, delivery, settings[LogsSettings], limits, compat),
        outcomes=outcomes,
        delivery=delivery,
    )
    overview = Overview(
        plugins=plugins,
        settings=settings,
        metrics=metrics,
        recorder=recorder,
        pool=pool,
        functions=functions,
        admission=admission,
        delivery=delivery,
    )
    return Core(invoker, overview, recorder, pool, admission, delivery)


def _pool(
    settings: Settings, runtime: ContainerRuntime, logs: LogExtractor, kinds: Runtimes, *, lasting: bool
) -> AbstractAsyncContextManager[Pool]:
    containers, node, limits = settings[PoolSettings], settings[NodeSettings], settings[LimitsSettings]
    if not lasting:
        containers = msgspec.structs.replace(containers, pause=False)
        kinds = kinds.without_prewarm()
    return container_pool(runtime, logs, containers, node=node, limits=limits, runtimes=kinds)


async def kinds_of(settings: Settings, runtime: ContainerRuntime) -> Runtimes:
    """Return the kinds that can be run: the operator's manifest, or else what the runtime offers of its own accord.

    Keys of the manifest that nothing asks for are logged, and so is what the runtime lacks for its kinds.

    Raises:
        SettingsError: the manifest can't be used.
        StartFailed: the runtime can't be used.
    """
    kinds = manifest_of(settings, logger.warning)
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
    manifest_of(settings, warnings.append)
    return warnings


def _keys(settings: Settings) -> Keys:
    passed = settings[RolesSettings].compat == "openwhisk"  # unknown schemes, as they are (spec 7.1.7)
    return Keys(settings[EncryptionSettings].keys, unknown="pass" if passed else "refuse")


def manifest_of(settings: Settings, warn: Callable[[str], object]) -> Runtimes | None:
    """Return the operator's manifest, if there is one.

    Raises:
        SettingsError: it can't be used.
    """
    path = settings[RuntimesSettings].manifest
    if path is None:
        return None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"runtimes.manifest: can't read {path}: {error.strerror}"]) from error
    return manifest.read(text, str(path), warn=warn)
