"""How an invocation ended: what its caller is told and what is recorded."""

import enum

import msgspec

from invoker.entities.function import Limits

_WORDS = ("success", "application_error", "developer_error", "system_error")


class Status(enum.IntEnum):
    """The `statusCode` of a response (spec 8.4.1)."""

    SUCCESS = 0
    APPLICATION_ERROR = 1
    """The function ran and returned an error."""
    DEVELOPER_ERROR = 2
    """The function could not start, crashed, took too long or answered nonsense."""
    WHISK_ERROR = 3
    """Our failure. Controllers count these against the invoker (spec T11)."""

    def __init__(self, code: int) -> None:
        self.word = _WORDS[code]
        """The status in words, as logs and metrics spell it."""


class Outcome(msgspec.Struct, frozen=True):
    """How an invocation ended, as the caller will see it."""

    status: Status
    response: msgspec.Raw
    """The function's answer as JSON; for a failure an object whose `error` may be any JSON value (8.4.3, T51)."""
    size: int | None = None
    """Length of the answer before it was cut; `None` where no container answered (spec 8.4.4)."""

    @property
    def error(self) -> str:
        """The error of a failure as text: a string as it is, another value as JSON; empty if there is none to read."""
        try:
            error = msgspec.json.decode(self.response, type=_Failure).error
            return msgspec.json.decode(error, type=str) if bytes(error).startswith(b'"') else bytes(error).decode()
        except (msgspec.MsgspecError, UnicodeError):
            return ""


class _Failure(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"")


class Ack(enum.Enum):
    """The messages that a controller understands (spec 2.2). All but `RESULT` free the slot."""

    RESULT = "result"
    """The answer, without freeing the slot: logs are still to come."""
    COMBINED = "combined"
    """The answer and the free slot in one."""
    SHRUNK = "shrunk"
    """A combined message that carries the activation id in place of the answer."""
    COMPLETION = "completion"
    """The free slot alone: the answer went before, or nobody waits for one."""


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded, and, with empty logs, what can be answered. Never patched.

    Times are integer Unix milliseconds, so that `end - start` is the duration everyone sees (spec T68).
    """

    activation_id: str
    namespace: str
    """The invoking namespace, which owns the record."""
    subject: str
    path: str
    """`namespace[/package]/name` of the action, no leading slash (spec T44)."""
    name: str
    version: str
    kind: str = "unknown"
    limits: Limits | None = None
    """`None` when the action could not be fetched."""
    outcome: Outcome
    start: int
    end: int
    wait_time: int | None = None
    """Milliseconds from the caller's request to `/init` or `/run`, container creation included (spec T69)."""
    init_time: int | None = None
    """Milliseconds of `/init`; `None` for a warm start: this invocation didn't initialise the function."""
    timed_out: bool = False
    """The time limit was reached."""
    cause: str | None = None
    binding: str | None = None
    blocking: bool = False
    main: str | None = None
    caller_annotations: msgspec.Raw | None = None
    """JSON array of the caller's namespace (spec 1.10.2)."""
    notes: tuple[tuple[str, str | int], ...] = ()
    """Further annotations of ours, such as the peak memory of a function that exhausted its own."""
    logs: tuple[str, ...] = ()

    @property
    def duration(self) -> int:
        """Milliseconds from start to end."""
        return self.end - self.start

    @property
    def is_system_error(self) -> bool:
        """Whether the failure is ours (spec 2.2.2)."""
        return self.outcome.status is Status.WHISK_ERROR


class ActivationRecord(msgspec.Struct, frozen=True, array_like=True):
    """What stores keep: the document that a controller reads, and what of it they may want to find it by."""

    namespace: str
    activation_id: str
    action: str
    """`namespace[/package]/name`."""
    start: int
    """Unix milliseconds."""
    status: int
    """A `Status`."""
    fields: bytes
    """The document as JSON (spec 8.1; 8.8 for `functions`), but for its `logs`; never empty."""
    logs: bytes
    """Its `logs`: a JSON array."""

    @property
    def document(self) -> bytes:
        """All of it. Its `_id` makes the write idempotent. It may have line ends, where the function's answer has."""
        return b'%b,"logs":%b}' % (self.fields[:-1], self.logs)
