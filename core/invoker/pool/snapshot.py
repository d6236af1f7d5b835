"""What operators see of the pool at one moment. Sizes are bytes, durations seconds."""

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
    LATE_LOGS = "late logs"
    """Its last container had been removed because the end of an activation's output never came."""
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
    """The runtime had no room for another container, for want of something other than memory (`NoRoom`)."""


class ContainerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One container. `namespace`, the invoking one, and `action`, `path/name`, are empty while it is prewarmed."""

    name: str
    state: str  # a `State`
    kind: str
    memory: int
    namespace: str
    action: str
    activations: int  # in it now
    served: int  # activations that have ended in it
    age: float  # since its start was begun
    since: float  # for so long it has been in its present state
    reason: str | None  # why it was started: a `StartReason`; `None` for a prewarmed one that nobody has taken


class ActionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One action of one invoking namespace, as long as the pool remembers it. Durations are moving averages."""

    namespace: str
    action: str
    containers: int
    waiting: int
    service_time: float | None  # for which an activation has a container; `None` if none has ended yet
    start_time: float | None  # from the decision to start a container to the end of `/init`


class PrewarmSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Prewarmed containers of one kind and memory."""

    kind: str
    memory: int
    wanted: int
    ready: int
    starting: int
    failure: str | None  # why the last one could not be started; `None` once one could


class ColdStart(msgspec.Struct, frozen=True):
    """One activation that was not served by a warm container, for a `StartReason`; `at` is Unix milliseconds."""

    at: int
    namespace: str
    action: str
    container: str
    reason: str
    prewarmed: bool  # a prewarmed container was taken


class PoolSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole pool."""

    memory: int  # for all containers together
    used: int  # by all of them, those that are being started or removed included
    waiting: int  # activations without a container
    containers: tuple[ContainerSnapshot, ...]
    actions: tuple[ActionSnapshot, ...]
    prewarmed: tuple[PrewarmSnapshot, ...]
    starts: dict[str, int]  # cold starts since the invoker started, by `StartReason`
    waits: dict[str, int]  # activations that waited, by `WaitReason`; one that had several counts for each
    recent: tuple[ColdStart, ...]  # the last cold starts, the latest first
