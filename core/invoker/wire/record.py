"""Activation records: what acknowledgements carry, what stores keep, and the way back.

One builder makes them all (spec 15.5). `compat` decides where the two families of controllers differ (8.1 and 8.8).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from invoker.config import Compat, RecordingSettings
from invoker.entities.activation import Activation, ActivationRecord, Outcome, Status
from invoker.entities.function import Limits
from invoker.entities.request import Request
from invoker.wire import raw

T = TypeVar("T")

_encode: Final = msgspec.json.Encoder().encode
_NULL: Final = msgspec.Raw(b"null")


class Annotation(msgspec.Struct, frozen=True, gc=False):
    """One element of a record's `annotations`."""

    key: str
    value: object


class Response(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A record's `response` (spec 8.4)."""

    status_code: int
    result: msgspec.Raw
    size: int | None = None


class Record(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel", omit_defaults=True):
    """A record as acknowledgements carry it; all but `cause` is required by its reader (spec 2.3.1, T6)."""

    namespace: str
    name: str
    subject: str
    activation_id: str
    start: int
    end: int
    cause: str | None = None
    response: Response
    version: str
    publish: bool
    annotations: list[Annotation]
    duration: int
    logs: tuple[str, ...]
    """The last one: see `recorded`."""


def record(activation: Activation, compat: Compat, logs: tuple[str, ...]) -> Record:
    """Return the record without what only databases keep (spec 2.3.7)."""
    annotations = _annotations_of_openwhisk if compat == "openwhisk" else _annotations_of_functions
    outcome = activation.outcome
    size = outcome.size
    if size is None and compat == "functions":  # always there, of errors of ours too (spec 8.8.6)
        size = memoryview(outcome.response).nbytes
    return Record(
        namespace=activation.namespace,
        name=activation.name,
        subject=activation.subject,
        activation_id=activation.activation_id,
        start=activation.start,
        end=activation.end,
        cause=activation.cause,
        response=Response(outcome.status, outcome.response, size),
        logs=logs,
        version=activation.version,
        publish=False,
        annotations=annotations(activation),
        duration=activation.duration,
    )


_NO_LOGS: Final = b',"logs":[]}'


def recorded(activation: Activation, *, compat: Compat, updated: int) -> ActivationRecord:
    """Return what stores keep (spec 8.1; 8.8 for `functions`). `updated` is now, in Unix milliseconds."""
    body = _encode(record(activation, compat, ()))[: -len(_NO_LOGS)]
    document_id = _encode(f"{activation.namespace}/{activation.activation_id}")  # spec 8.1.1, T66
    if compat == "functions":  # neither `updated` nor `entityType` (spec 8.8.1)
        fields = b'%b,"_id":%b}' % (body, document_id)
    else:
        fields = b'{"_id":%b,"entityType":"activation","updated":%d,%b}' % (document_id, updated, body[1:])
    return ActivationRecord(
        activation.namespace,
        activation.activation_id,
        activation.path,
        activation.start,
        activation.outcome.status,
        fields,
        _logs(activation.logs) if activation.logs else b"[]",
    )


def _logs(logs: tuple[str, ...]) -> bytes:
    try:
        return _encode(logs)
    except UnicodeEncodeError:  # lone surrogates, which many readers of JSON refuse
        return _encode([line.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for line in logs])


def _annotations_of_openwhisk(activation: Activation) -> list[Annotation]:
    """Spec 8.2. Without the action there is little to say (8.2.1); the order means nothing (8.2.3)."""
    found = [Annotation("path", activation.path), Annotation("kind", activation.kind)]
    if activation.limits is not None:
        found += (Annotation("timeout", activation.timed_out), Annotation("limits", activation.limits))
    if activation.wait_time is not None:
        found.append(Annotation("waitTime", activation.wait_time))
    if activation.init_time is not None:
        found.append(Annotation("initTime", activation.init_time))
    if activation.cause is not None:
        found.append(Annotation("causedBy", "sequence"))
    if activation.binding is not None:
        found.append(Annotation("binding", activation.binding))
    if activation.notes:
        found += (Annotation(key, value) for key, value in activation.notes)
    return found


def _annotations_of_functions(activation: Activation) -> list[Annotation]:
    """Spec 8.8.2: some are there even without the action, then empty; sorted by key; ours replace the caller's."""
    found = _annotations_of_caller(activation.caller_annotations)
    found.update(activation.notes)
    fetched = activation.limits is not None
    limits = activation.limits or Limits(timeout=0, memory=0, logs=0)
    found["path"] = activation.path
    found["kind"] = activation.kind if fetched else ""
    found["entry"] = (activation.main or "main") if fetched else ""
    found["limits"] = {"timeout": limits.timeout, "memory": limits.memory, "logs": limits.logs}  # spec 2.8.6
    found["timeout"] = activation.timed_out
    found["gbs"] = _gigabyte_seconds(activation, limits.memory)
    if activation.binding is not None:
        found["binding"] = activation.binding
    if activation.cause is not None:  # no waitTime then (spec 8.8.4)
        found["causedBy"] = "sequence"
    elif activation.wait_time is not None and activation.wait_time > 0:
        found["waitTime"] = activation.wait_time
    if activation.init_time:
        found["initTime"] = activation.init_time
    return [Annotation(key, found[key]) for key in sorted(found)]


def _gigabyte_seconds(activation: Activation, memory: int) -> float:
    """Spec 8.8.3: GB times seconds, in started tenths. A whole number is written as one, as Go does."""
    if activation.path.startswith("fnsystem/builder"):
        return 0
    used = memory * -(-max(0, activation.duration) // 100)
    return used / 10240 if used % 10240 else used // 10240


class _RawAnnotation(msgspec.Struct, frozen=True):
    key: str
    value: msgspec.Raw = _NULL


_RAW_ANNOTATIONS: Final = msgspec.json.Decoder(list[_RawAnnotation])


def _annotations_of_caller(array: msgspec.Raw | None) -> dict[str, object]:
    """Return what the message brought for the record (spec 1.10.2); nothing if it is no such array."""
    if array is None:
        return {}
    try:
        return {each.key: each.value for each in _RAW_ANNOTATIONS.decode(array)}
    except msgspec.DecodeError:
        return {}


def is_recorded(activation: Activation, request: Request, settings: RecordingSettings, compat: Compat) -> bool:
    """Return whether stores are given the record: the rule of spec 8.5, or of 8.8.7 for `functions`.

    What was turned away because of its namespace is never recorded (8.5.5); that is not decided here.
    """
    if not request.caller.limits.store_activations:  # beats everything (spec 8.5.2, T70)
        return False
    if compat == "functions":  # the controller stores blocking activations itself
        return not activation.blocking
    level = settings.store_blocking if activation.blocking else settings.store_non_blocking
    if level == "always" or request.transaction.extra_logging:
        return True
    least = Status.APPLICATION_ERROR if level == "failures" else Status.DEVELOPER_ERROR
    return activation.outcome.status >= least


class _StoredResponse(msgspec.Struct, rename="camel"):
    status_code: Status
    result: msgspec.Raw = _NULL
    size: int | None = None


class _Stored(msgspec.Struct, kw_only=True, rename="camel"):
    activation_id: str
    namespace: str
    name: str
    subject: str = ""
    version: str = "0.0.1"
    start: int | float | str  # as a float alone, a whole number beyond 2 ** 53 would be rounded
    end: int | float | str | None = None
    cause: str | None = None
    response: _StoredResponse
    logs: tuple[str, ...] | None = None
    annotations: list[_RawAnnotation] | None = None


_STORED: Final = msgspec.json.Decoder(_Stored)

_OURS: Final = {"path", "kind", "limits", "timeout", "waitTime", "initTime", "causedBy", "binding", "entry", "gbs"}
"""Annotations with a field of their own, or that follow from one."""


def read(document: bytes) -> Activation:
    """Return the activation of a stored document of either kind; also one that somebody else wrote.

    Documents don't tell whether it was blocking. Annotations that are not ours become notes, if they are texts or
    whole numbers; others are left out.

    Raises:
        ValueError: it is no activation record.
    """
    stored = _stored(document)
    found = {each.key: each.value for each in stored.annotations or ()}
    start = _milliseconds(stored.start)
    limits = _value(found, "limits", Limits)
    entry = _value(found, "entry", str)
    return Activation(
        activation_id=stored.activation_id,
        namespace=stored.namespace,
        subject=stored.subject,
        path=_value(found, "path", str) or f"{stored.namespace}/{stored.name}",
        name=stored.name,
        version=stored.version,
        kind=_value(found, "kind", str) or "unknown",
        limits=limits if limits is not None and limits.timeout else None,  # without a timeout not fetched (spec 8.8.2)
        outcome=Outcome(stored.response.status_code, stored.response.result, stored.response.size),
        start=start,
        end=_milliseconds(stored.end) if stored.end else start,  # 0 in what controllers write for triggers
        wait_time=_value(found, "waitTime", int),
        init_time=_value(found, "initTime", int),
        timed_out=_value(found, "timeout", bool) or False,
        cause=stored.cause,
        binding=_value(found, "binding", str),
        main=None if entry == "main" else entry or None,
        notes=tuple(_notes(found)),
        logs=stored.logs or (),
    )


def _stored(document: bytes) -> _Stored:
    raw.check_utf8(document)
    try:
        return _STORED.decode(document)
    except RecursionError as error:
        raise raw.NotJSON(raw.TOO_DEEP) from error
    except msgspec.DecodeError:
        if not raw.has_surrogates(document):
            raise
    # A result may have lone surrogates; nothing else in a record has.
    members = raw.members(raw.checked(document))
    response = raw.members(members.get("response", _NULL))
    result = response.pop("result", _NULL)
    stored = _STORED.decode(raw.joined(members | {"response": raw.joined(response)}))
    stored.response.result = result
    return stored


def _value(found: Mapping[str, msgspec.Raw], key: str, kind: type[T]) -> T | None:
    """Return an annotation's value, or `None` if it is absent or of another type."""
    try:
        return msgspec.json.decode(found[key], type=kind)
    except (KeyError, msgspec.DecodeError):
        return None


def _notes(found: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, str | int]]:
    for key in found:
        text = _value(found, key, str)
        note = _value(found, key, int) if text is None else text
        if note is not None and key not in _OURS:
            yield key, note


def _milliseconds(time: float | str) -> int:
    """Unix milliseconds, or an ISO-8601 text, in UTC where it doesn't say (spec 2.3.4)."""
    if not isinstance(time, str):
        return int(time)
    moment = datetime.fromisoformat(time)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
