"""What operators see of the pool at one moment: its containers, and why it started them or had activations wait."""

import enum

import msgspec


class StartReason(enum.Enum):
    """Why an activation was not served by a warm container: the code in metrics and records."""

    NEW = "new"
    """There has been no container of this action, or it was forgotten."""
    BUSY = "busy"
    """Its containers were busy, and one of them was expected to be free later than a new one, or one was prewarmed."""
    ALWAYS = "always"
    """Its containers were busy, and `pool.scale_out` is "always"."""
    OVERDUE = "overdue"
    """It had waited for one of its containers as long as a start takes."""
    EVICTED = "evicted"
    """Its last container had made room for another."""
    EXPIRED = "expired"
    """Its last container had been idle for `pool.idle_timeout`."""
    DIED = "died"
    """Its last container had ended by itself, or had been removed after a failure."""
    MOVED = "moved"
    """A container did not take this activation."""


class WaitReason(enum.Enum):
    """Why an activation had to wait."""

    SOONER = "sooner"
    """A busy container of its action was expected to be free before a new one, or nothing was known of either."""
    MEMORY = "memory"
    """There was no memory for another container."""
    STARTS = "starts"
    """As many containers were being created as may be at once."""
    ROOM = "room"
    """The runtime lacked something other than memory for another container: see `NoRoom`."""


class ContainerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One container."""

    name: str
    state: str
    """starting, prewarmed, busy, idle, pausing, paused, resuming or removing."""
    kind: str
    memory: int
    """Bytes."""
    namespace: str
    """The invoking one; empty while it is prewarmed."""
    action: str
    """`path/name`; empty while it is prewarmed."""
    activations: int
    """In it now."""
    served: int
    """Activations that have ended in it."""
    age: float
    """Seconds since its start was begun."""
    since: float
    """Seconds in its present state."""
    reason: str | None
    """Why it was started: a `StartReason`; `None` for a prewarmed one that nobody has taken."""


class ActionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One action of one invoking namespace, as long as the pool remembers it."""

    namespace: str
    action: str
    containers: int
    waiting: int
    service_time: float | None
    """Seconds for which an activation has a container, a moving average; `None` if none has ended yet."""
    start_time: float | None
    """Seconds from the decision to start a container to the end of `/init`, a moving average."""


class PrewarmSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Prewarmed containers of one kind and memory."""

    kind: str
    memory: int
    """Bytes of each."""
    wanted: int
    ready: int
    starting: int
    failure: str | None
    """Why the last one could not be started; `None` once one could."""


class ColdStart(msgspec.Struct, frozen=True, kw_only=True):
    """One activation that was not served by a warm container."""

    at: int
    """Unix milliseconds."""
    namespace: str
    action: str
    container: str
    reason: str
    """A `StartReason`."""
    prewarmed: bool
    """A prewarmed container was taken."""


class PoolSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole pool."""

    memory: int
    """Bytes for all containers together."""
    used: int
    """Bytes of all containers, those that are being started or removed included."""
    waiting: int
    """Activations without a container."""
    containers: tuple[ContainerSnapshot, ...]
    actions: tuple[ActionSnapshot, ...]
    prewarmed: tuple[PrewarmSnapshot, ...]
    starts: dict[str, int]
    """Cold starts since the invoker started, by `StartReason`."""
    waits: dict[str, int]
    """Activations that waited since the invoker started, by `WaitReason`; one that had several counts for each."""
    recent: tuple[ColdStart, ...]
    """The last cold starts, the latest first."""
