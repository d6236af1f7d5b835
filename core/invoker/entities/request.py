"""Who asks for which function, with what."""

from typing import Final

import msgspec

from invoker.entities.function import FunctionRef


class Transaction(msgspec.Struct, frozen=True):
    """Where a request came from (spec 1.3)."""

    id: str
    start: int
    """Unix milliseconds at which the caller's request reached the platform."""
    extra_logging: bool
    raw: msgspec.Raw
    """The array as it came: acknowledgements echo it unchanged (spec T4)."""


class CallerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a namespace may narrow, in the message's units; `None` leaves the system's limit (spec 1.5.3)."""

    store_activations: bool = True
    min_timeout: int | None = None
    max_timeout: int | None = None
    min_memory: int | None = None
    max_memory: int | None = None
    min_logs: int | None = None
    max_logs: int | None = None
    min_concurrency: int | None = None
    max_concurrency: int | None = None
    max_payload: int | None = None
    """Bytes of a `/run` reply that are accepted whole."""
    truncation: int | None = None
    """Bytes that are kept of a longer one."""


NARROWS_NOTHING: Final = CallerLimits()
"""What most callers have; shared, so that it is known at a glance."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a function runs (spec 1.5)."""

    subject: str
    namespace: str
    """The invoking namespace: owns the record and is part of the warm key (spec 1.5.1)."""
    namespace_uuid: str = ""
    authkey: msgspec.Raw = msgspec.Raw(b"{}")
    """A JSON object, opaque: each of its fields is shown to the function (spec 1.5.2, T18). A secret."""
    limits: CallerLimits = NARROWS_NOTHING
    annotations: msgspec.Raw | None = None
    """JSON array that `functions` compatibility copies into records (spec 1.10.2)."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One activation message, parsed."""

    activation_id: str
    transaction: Transaction
    function: FunctionRef
    caller: Caller
    controller: str
    """Whom to acknowledge: `rootControllerIndex.asString` (spec 1.6)."""
    blocking: bool
    """Someone waits for the result."""
    content: msgspec.Raw | None = None
    """The arguments as JSON: an object or an array; valid UTF-8. A secret: never log it (spec 1.7.9)."""
    init_names: tuple[str, ...] = ()
    """Parameters that go into the environment at `/init` instead (spec 1.7.4)."""
    locked: dict[str, str] = {}
    """Encrypted parameters: name to scheme or key name (spec 1.7.5)."""
    cause: str | None = None
    """Activation id of the sequence or composition this is a step of."""
