"""The core's own sections of the settings. A plugin's section lives with the plugin."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from invoker.config.secret import Secret
from invoker.entities.node import Node
from invoker.units import ByteSize, Seconds

Compat: TypeAlias = Literal["openwhisk", "functions"]
StoreLevel: TypeAlias = Literal["always", "failures", "failures-not-application-errors"]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every section is: frozen, checked, and strict about its keys."""


class RolesSettings(Section, frozen=True, kw_only=True):
    """Which plugins are used; the settings' top level."""

    compat: Compat = "openwhisk"
    """Whose controller is spoken to: today's upstream, or the Go variant's ("functions")."""
    transports: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("http",)
    """Where messages come in; one at least, and several may be named."""
    runtime: str = "process"
    """What starts containers."""
    functions: str = "sqlite"
    """Where actions come from."""
    activations: str = "sqlite"
    """Where activation records are kept."""
    extra: tuple[str, ...] = ()
    """Observers, wrappers and admission."""


class LogsSettings(Section, frozen=True, kw_only=True):
    """How logs are taken. `logs = "attached"` at the top level is short for `logs.plugin = "attached"`."""

    plugin: str = "attached"
    """What takes the logs out of containers' output."""
    combine_wait: Seconds = Seconds(0.005)
    """How long a result waits for its logs before it is sent ahead of them, where the transport can."""
    timeout: Seconds = Seconds(0.5)
    """How long logs are waited for after the function has answered and its output has gone quiet."""


class NodeSettings(Section, frozen=True, kw_only=True):
    """Who this invoker is."""

    id: Whole = 0
    """Index in the controller's table; count from 0 without gaps."""
    unique_name: Annotated[str, msgspec.Meta(examples=["node-b"])] | None = None
    """A name that no other invoker has; part of its containers' names."""
    displayed_name: Annotated[str, msgspec.Meta(examples=["rack 7, node b"])] | None = None
    """A name for people."""
    tags: tuple[str, ...] = ()
    """Told to controllers; the classic ones ignore them."""
    dedicated_namespaces: tuple[str, ...] = ()
    """Told to controllers; the classic ones ignore them."""
    api_host: Annotated[str, msgspec.Meta(examples=["https://openwhisk.example.org"])] | None = None
    """URL of the platform's API, shown to functions as __OW_API_HOST."""
    state_dir: Path | None = None
    """Where the invoker keeps what must outlive it; by default in the user's state directory."""


class PoolSettings(Section, frozen=True, kw_only=True):
    """Containers and the memory they share."""

    memory: ByteSize = ByteSize(2 << 30)
    """All containers together, idle ones included; controllers are told this number."""
    idle_timeout: Seconds = Seconds(600)
    """An idle container is removed after this time."""
    pause: bool = True
    """Whether idle containers are paused, where the runtime can: they keep their memory and take no processor time."""
    pause_grace: Seconds = Seconds(10)
    """How long a container is idle before it is paused (spec 10.1); to resume one takes about 10 ms."""
    scale_out: Literal["expected", "always"] = "expected"
    """When another container is started for a function whose containers are all busy: when waiting for one of them
    is expected to take longer than a start, or always, as upstream does."""
    parallel_starts: Count = 4
    """Containers that are created at the same time for activations; meanwhile those that are there may serve them."""
    prewarm_interval: Seconds = Seconds(600)
    """Between adjustments of reactive prewarmed containers to the demand (spec 10.6.3)."""
    patience: Seconds = Seconds(0.1)
    """How long the first in the queue is overtaken by those whose function has a container free while its own has
    none; about a cold start."""


class IntakeSettings(Section, frozen=True, kw_only=True):
    """How much may wait."""

    queue_bytes: ByteSize = ByteSize(64 << 20)
    """Messages that are accepted and not yet running; beyond it new ones are turned away."""


class LimitsSettings(Section, frozen=True, kw_only=True):
    """The system's limits for actions (spec 6.6.4), in the units of action documents."""

    min_timeout: Count = 100
    """Milliseconds."""
    max_timeout: Count = 300_000
    """Milliseconds."""
    min_memory: Count = 128
    """MB."""
    max_memory: Count = 512
    """MB."""
    min_logs: Whole = 0
    """MB."""
    max_logs: Whole = 10
    """MB, in either compatibility; "functions" documents count theirs in KB."""
    min_concurrency: Count = 1
    """Activations in one container at the same time."""
    max_concurrency: Count = 1
    """Activations in one container at the same time."""
    payload: ByteSize = ByteSize(1 << 20)
    """Of a message's arguments, and of a reply that is accepted whole (spec 9.4.3)."""
    truncation: ByteSize = ByteSize(1 << 20)
    """What is kept of a reply that is longer."""
    message_overhead: ByteSize = ByteSize(6068)
    """What a message may have beyond its payload (spec 1.1.3)."""

    def __post_init__(self) -> None:
        """Check what one field can't know."""
        for what in ("timeout", "memory", "logs", "concurrency"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least > most:
                raise ValueError(
                    f"min_{what} is {least} and max_{what} {most}, so that no action would be within them: "
                    f"set max_{what} to {least} or more, or min_{what} to {most} or less"
                )

    @property
    def message(self) -> int:
        """Bytes of the largest message that is accepted."""
        return self.payload + self.message_overhead


class FunctionsSettings(Section, frozen=True, kw_only=True):
    """The cache of function code."""

    cache_bytes: ByteSize = ByteSize(128 << 20)
    idle_timeout: Seconds = Seconds(300)
    """A function that nobody asked for in this time is dropped (spec 6.7.5)."""


class RecordingSettings(Section, frozen=True, kw_only=True):
    """Records on their way to the store."""

    store_blocking: StoreLevel = "always"
    """Which blocking activations are recorded (spec 8.5)."""
    store_non_blocking: StoreLevel = "always"
    """Which others are recorded (spec 8.5)."""
    batch_size: Count = 500
    """Records in one write."""
    batch_bytes: ByteSize = ByteSize(5 << 20)
    """Bytes in one write."""
    flush_interval: Seconds = Seconds(0.1)
    """How long a record waits for others to be written with it."""
    max_bytes: ByteSize = ByteSize(64 << 20)
    """Records that may wait for the store; beyond it new messages are turned away."""
    first_retry: Seconds = Seconds(0.05)
    """Between the first two tries of a write that failed."""
    last_retry: Seconds = Seconds(5)
    """At most between two tries: doubled from the first until this."""
    grace: Seconds = Seconds(10)
    """How long stopping waits for the store."""

    def __post_init__(self) -> None:
        """Check what one field can't know."""
        if self.first_retry > self.last_retry:
            raise ValueError("first_retry must not exceed last_retry")


class ShutdownSettings(Section, frozen=True, kw_only=True):
    """How the invoker stops."""

    grace: Seconds | None = None
    """How long running activations may go on; by default as long as the longest allowed timeout."""


class EncryptionSettings(Section, frozen=True, kw_only=True):
    """Keys of locked parameters (spec 7)."""

    keys: dict[str, Secret] = {}
    """Name, such as aes-128, aes-256 or one of yours, to base64 of 16 or 32 bytes."""


class RuntimesSettings(Section, frozen=True, kw_only=True):
    """The kinds of action that can run."""

    manifest: Path | None = None
    """Upstream's JSON runtimes manifest; replaces what the container runtime offers of its own accord."""


class TelemetrySettings(Section, frozen=True, kw_only=True):
    """What the invoker says about itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the invoker and its plugins; libraries say no more than at info."""
    format: Literal["auto", "text", "json"] = "auto"
    """Text on a terminal, JSON lines elsewhere."""
    activations: bool = True
    """One log line for each activation."""


def node_of(node: NodeSettings, pool: PoolSettings) -> Node:
    """Return the identity that controllers are told."""
    return Node(
        id=node.id,
        memory=int(pool.memory),
        unique_name=node.unique_name,
        displayed_name=node.displayed_name,
        tags=node.tags,
        dedicated_namespaces=node.dedicated_namespaces,
    )
