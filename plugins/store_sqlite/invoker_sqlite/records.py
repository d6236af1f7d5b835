"""An activation record as a row of the file, and back."""

import re
from typing import Any, Final, TypeAlias

import msgspec

from invoker.entities.activation import Activation, Outcome, Status
from invoker.entities.function import Limits

COLUMNS: Final = "activation_id, namespace, start, path, status, record, logs"
"""What `activation_of` needs, in this order."""

COLUMNS_WITHOUT_LOGS: Final = "activation_id, namespace, start, path, status, record, NULL"

INSERT: Final = """
    INSERT INTO activations (activation_id, namespace, start, path, status, stored, size, record, logs)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (activation_id, namespace) DO NOTHING
"""
"""Takes what `row_of` returns."""

_AROUND: Final = 140
"""Bytes of the file that a record takes besides its two blobs: its other columns and the indexes, measured."""

_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_Id: TypeAlias = bytes | str


class _Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    r"""What a record has besides its row's columns, as the file has it. New fields go to the end, with a default.

    JSON is kept as bytes: as part of other JSON it could not be read back if it has a lone surrogate (`"\ud800"`).
    """

    subject: str
    name: str
    version: str
    kind: str
    limits: Limits | None
    response: bytes
    size: int | None
    end: int
    wait_time: int | None
    init_time: int | None
    timed_out: bool
    cause: str | None
    binding: str | None
    blocking: bool
    main: str | None
    caller_annotations: bytes | None
    notes: tuple[tuple[str, str | int], ...]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Record)
_logs_decoder: Final = msgspec.msgpack.Decoder(tuple[str, ...])


def row_of(activation: Activation, stored: int) -> tuple[Any, ...]:
    """Return the values of a row. `stored` is when it is stored, in Unix milliseconds.

    Raises:
        UnicodeEncodeError, OverflowError: it has a value that the file can't hold.
    """
    outcome = activation.outcome
    annotations = activation.caller_annotations
    record = _encoder.encode(
        _Record(
            activation.subject,
            activation.name,
            activation.version,
            activation.kind,
            activation.limits,
            bytes(outcome.response),
            outcome.size,
            activation.end,
            activation.wait_time,
            activation.init_time,
            activation.timed_out,
            activation.cause,
            activation.binding,
            activation.blocking,
            activation.main,
            None if annotations is None else bytes(annotations),
            activation.notes,
        )
    )
    logs = _encoder.encode(activation.logs) if activation.logs else None
    return (
        packed(activation.activation_id),
        activation.namespace,
        activation.start,
        activation.path,
        outcome.status.value,
        stored,
        _AROUND + len(record) + len(logs or b""),
        record,
        logs,
    )


def activation_of(row: tuple[Any, ...]) -> Activation:
    """Return the record of a row that was read.

    Raises:
        msgspec.DecodeError: it is none.
    """
    activation_id, namespace, start, path, status, blob, logs = row
    values = msgspec.structs.asdict(_decoder.decode(blob))
    outcome = Outcome(Status(status), msgspec.Raw(values.pop("response")), values.pop("size"))
    annotations = values.pop("caller_annotations")
    return Activation(
        activation_id=activation_id if isinstance(activation_id, str) else activation_id.hex(),
        namespace=namespace,
        path=path,
        outcome=outcome,
        start=start,
        caller_annotations=None if annotations is None else msgspec.Raw(annotations),
        logs=() if logs is None else _logs_decoder.decode(logs),
        **values,
    )


def packed(activation_id: str) -> _Id:
    """Return the id as it is stored: half as long if it is what OpenWhisk makes (spec 1.2.2)."""
    return bytes.fromhex(activation_id) if _ID.fullmatch(activation_id) else activation_id
