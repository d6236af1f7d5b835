"""The core's own sections of the settings, and what a section is. A plugin's section lives with the plugin."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, TypeVar, cast

import msgspec

from invoker.entities.node import Node
from invoker.errors import SettingsError
from invoker.units import ByteSize, Seconds

Compat: TypeAlias = Literal["openwhisk", "functions"]
StoreLevel: TypeAlias = Literal["always", "failures", "failures-not-application-errors"]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Secret:
    """A password or a key: shows as `***` in reprs, logs, tracebacks and every output of the command line."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; call it where it is used, and keep what it returns nowhere."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, format_spec: str) -> str:
        return format("***", format_spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every section is: frozen, checked, and strict about its keys."""

    @property
    def operators_url(self) -> str | None:
        """Where operators are served, if the plugin does that; `<url>/pool` answers `invoker pool`."""
        return None


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
    loaders: tuple[str, ...] = ()
    """Python modules with a `load` as Dynaconf's "dynaconf.loaders.vault_loader" has: over files, below variables."""


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
    """When a function whose containers are all busy gets another: when that is expected to be sooner, or always."""
    parallel_starts: Count = 4
    """Containers that are created at once, but for slow ones; meanwhile those that are there may serve who waits."""
    prewarm_interval: Seconds = Seconds(600)
    """Between adjustments of reactive prewarmed containers to the demand (spec 10.6.3)."""
    patience: Seconds = Seconds(0.1)
    """How long who is first in the queue is overtaken by those whose function has a container free."""


class IntakeSettings(Section, frozen=True, kw_only=True):
    """How much may wait."""

    queue_bytes: ByteSize = ByteSize(64 << 20)
    """Messages that are accepted and not yet running, and answers not yet taken; beyond it new ones are turned away."""
    answer_timeout: Seconds = Seconds(600)
    """How long a transport may take to pass an answer on, such as while its broker is down; then it is given up."""


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
    fetch_timeout: Seconds = Seconds(30)
    """How long the store may take to give a function; then it counts as one that doesn't answer."""


class RecordingSettings(Section, frozen=True, kw_only=True):
    """Records on their way to the store."""

    store_blocking: StoreLevel = "always"
    """Which blocking activations are recorded (spec 8.5)."""
    store_non_blocking: StoreLevel = "always"
    """Which others are recorded (spec 8.5)."""
    safety: Literal["memory", "file", "disk"] = "file"
    """What a record survives once its activation is answered: nothing, the process's death, or the machine's."""
    batch_size: Count = 500
    """Records in one write."""
    batch_bytes: ByteSize = ByteSize(5 << 20)
    """Bytes in one write."""
    flush_interval: Seconds = Seconds(0.1)
    """How long a record waits for others to be written with it."""
    max_bytes: ByteSize = ByteSize(64 << 20)
    """Records that may wait for the store, in the spool or in memory; beyond it new messages are turned away."""
    write_timeout: Seconds = Seconds(60)
    """How long the store may take for one write; then it is tried again."""
    first_retry: Seconds = Seconds(0.05)
    """Between the first two tries of a write that failed."""
    last_retry: Seconds = Seconds(5)
    """At most between two tries: doubled from the first until this."""
    grace: Seconds = Seconds(10)
    """How long stopping waits for the store; what the spool has then stays there for the next start."""

    def __post_init__(self) -> None:
        """Check what one field can't know."""
        if self.first_retry > self.last_retry:
            raise ValueError("first_retry must not exceed last_retry")


class ShutdownSettings(Section, frozen=True, kw_only=True):
    """How the invoker stops."""

    grace: Seconds | None = None
    """How long running activations may go on; by default as long as the longest allowed timeout."""
    answers: Seconds = Seconds(10)
    """How long the answers of those that have ended may take after that."""


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


Conflict: TypeAlias = tuple[Sequence[str], str]
"""Settings that don't go together, the one to put right first, and why: `(["pool.memory", …], "100 MB has no …")`."""


class SettingsSection(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin says about its section."""

    name: str
    """Like the plugin's entry point: `sqlite` for `[sqlite]`."""
    into: type[Section]
    check: Callable[[Mapping[str, Any]], Iterable[Conflict]] | None = None
    """Finds what one section can't know of another. It gets the sections by name, those without faults, its own among
    them; other plugins' are there when these are in use. What a section can know checks its `__post_init__`."""


def _room_for_a_container(sections: Mapping[str, Any]) -> Iterator[Conflict]:
    if "limits" in sections and sections["pool"].memory < (least := ByteSize(sections["limits"].min_memory << 20)):
        reason = f"{sections['pool'].memory} has no room for a single container: limits.min_memory is {least}"
        remedy = f"set pool.memory to {least} or more, or limits.min_memory to less"
        yield ("pool.memory", "limits.min_memory"), f"{reason}; {remedy}"


CORE: Final = (
    SettingsSection(name="", into=RolesSettings),
    SettingsSection(name="logs", into=LogsSettings),
    SettingsSection(name="node", into=NodeSettings),
    SettingsSection(name="pool", into=PoolSettings, check=_room_for_a_container),
    SettingsSection(name="intake", into=IntakeSettings),
    SettingsSection(name="limits", into=LimitsSettings),
    SettingsSection(name="cache", into=FunctionsSettings),  # `functions` is a role
    SettingsSection(name="recording", into=RecordingSettings),
    SettingsSection(name="shutdown", into=ShutdownSettings),
    SettingsSection(name="encryption", into=EncryptionSettings),
    SettingsSection(name="runtimes", into=RuntimesSettings),
    SettingsSection(name="telemetry", into=TelemetrySettings),
)
"""The core's sections, in the order in which they are shown; the first has no name and is the top level."""

S = TypeVar("S", bound=Section)


class Settings:
    """The sections, by type: `settings[PoolSettings].memory`."""

    def __init__(self, sections: Iterable[Section], *, looking: bool = False) -> None:
        self._sections: dict[type[Section], Section] = {type(section): section for section in sections}
        self.looking = looking
        """What is opened is only looked at (`invoker check`), and leaves nothing behind that was not there before."""

    def for_a_look(self) -> Self:
        """Return the same settings, for opening what must not change anything."""
        return type(self)(self._sections.values(), looking=True)

    @classmethod
    def of(cls, *sections: Section) -> Self:
        """Build settings in a program or a test: these sections, all others at their defaults."""
        return cls(sections)

    def __getitem__(self, section: type[S]) -> S:
        """Return a section; one that was not given has its defaults."""
        if section not in self._sections:
            self._sections[section] = section()
        return cast("S", self._sections[section])


def state_dir(node: NodeSettings) -> Path:
    """Return the state directory: `node.state_dir`, or the user's own. It need not exist yet.

    By default it is `functions-invoker` in `$XDG_STATE_HOME`, or in `~/.local/state` where that is no absolute path.

    Raises:
        SettingsError: nothing is set and the user has no home.
    """
    if node.state_dir is not None:
        return node.state_dir.absolute()
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".local" / "state") / "functions-invoker"
    except RuntimeError:  # no HOME, and no user of this number
        raise SettingsError(["node.state_dir: must be given: there is neither XDG_STATE_HOME nor a home"]) from None
