"""Stores that fail as tests tell them, and recorders beside a spool."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from invoker.config import RecordingSettings, Seconds
from invoker.entities.activation import Activation, ActivationRecord
from invoker.recording import Recorder, Spool, recording
from invoker.recording.segment import framed, refused, waiting
from invoker.testing.builders import an_activation, as_records
from invoker.testing.stores import MemoryActivations

QUICK = RecordingSettings(flush_interval=Seconds(0.001), first_retry=Seconds(0.001), last_retry=Seconds(0.002))


class ScriptedStore(MemoryActivations):
    """Fails as told, call by call, then keeps what it is given. An empty batch asks whether it would."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)
        self.batches: list[list[str]] = []
        """What was kept."""
        self.tries = 0
        self.kept = asyncio.Event()
        self.tried = asyncio.Event()

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        self.tries += 1
        self.tried.set()
        if self.failures:
            raise self.failures.pop(0)
        await self.keep(batch)

    async def keep(self, batch: Sequence[ActivationRecord]) -> None:
        if batch:
            await super().put_many(batch)
            self.batches.append([one.activation_id for one in batch])
            self.kept.set()

    @property
    def ids(self) -> list[str]:
        """What is there, in the order in which it came."""
        return [activation_id for _, activation_id in self.records]


class GatedStore(ScriptedStore):
    """Is down while its gate is shut: it raises `failure`, or doesn't answer at all."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.up = asyncio.Event()
        self.failure = failure

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        if not self.up.is_set():
            self.tried.set()
            if self.failure is not None:
                raise self.failure
            await self.up.wait()
        await self.keep(batch)


class PoisonedStore(ScriptedStore):
    """Fails on every batch that has one of `poison`, and keeps nothing of it."""

    def __init__(self, *poison: Activation) -> None:
        super().__init__()
        self.poison = {one.activation_id for one in poison}

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        self.tries += 1
        if any(one.activation_id in self.poison for one in batch):
            raise KeyError("a bug")
        await self.keep(batch)


@asynccontextmanager
async def spooled(
    store: MemoryActivations, directory: Path, settings: RecordingSettings | None = None
) -> AsyncIterator[Recorder]:
    async with recording(store, settings or QUICK, "openwhisk", Spool(directory)) as recorder:
        yield recorder


def left_behind(directory: Path, *activations: Activation) -> None:
    """Have a spool that an earlier life of the invoker has left, each record in a segment of its own."""
    spool = Spool(directory)
    spool.open()
    for record in as_records(activations):
        spool.write([framed(record)], held=False)
        spool.seal()
    spool.close()


def some(number: int) -> list[Activation]:
    return [an_activation() for _ in range(number)]


def ids_of(activations: Sequence[Activation]) -> list[str]:
    return [one.activation_id for one in activations]


def spooled_ids(directory: Path) -> list[str]:
    return [one.activation_id for one in waiting(directory)]


def refused_ids(directory: Path) -> list[str]:
    return [one.record.activation_id for one in refused(directory)]
