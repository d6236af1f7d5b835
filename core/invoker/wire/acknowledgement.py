"""What controllers are told about an activation: results, completions, and both in one (spec 2)."""

from typing import Final, Literal, TypeAlias

import msgspec

from invoker.config import Compat
from invoker.entities.activation import Ack, Activation
from invoker.entities.node import Node
from invoker.entities.request import Request
from invoker.wire.record import Record, record

Spelling: TypeAlias = Literal["both", "instance", "invoker"]
"""How acknowledgements name this invoker: as upstream reads it, as the Go variant does, or for either (2.8.5)."""

_encode: Final = msgspec.json.Encoder().encode


class _Instance(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """Spec 2.6. All without a default is required by its reader (T2)."""

    instance: int
    user_memory: str
    instance_type: str
    tags: tuple[str, ...]
    dedicated_namespaces: tuple[str, ...]
    unique_name: str | None = None
    displayed_name: str | None = None


class _Message(msgspec.Struct, gc=False, kw_only=True, rename="camel"):
    """Any of the shapes of spec 2.2 and 2.8."""

    transid: msgspec.Raw
    response: Record | str | msgspec.UnsetType = msgspec.UNSET
    activation_id: str | msgspec.UnsetType = msgspec.UNSET
    is_system_error: bool | msgspec.UnsetType = msgspec.UNSET
    instance: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    invoker: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def invoker(node: Node) -> bytes:
    """Return this invoker as controllers know it: `instance` in acknowledgements, `name` in pings (spec 2.6, T3)."""
    return _encode(
        _Instance(
            instance=node.id,
            user_memory=f"{node.memory:d} B",  # bytes, as upstream's own invoker writes them (spec 2.6.3)
            instance_type="invoker",
            tags=node.tags,
            dedicated_namespaces=node.dedicated_namespaces,
            unique_name=node.unique_name,
            displayed_name=node.displayed_name,
        )
    )


class Acknowledger:
    """Writes acknowledgements. Built once: what is the same in all of them is encoded here."""

    def __init__(self, node: Node, *, spelling: Spelling, compat: Compat) -> None:
        self._compat: Final = compat
        self._instance: Final = msgspec.UNSET if spelling == "invoker" else msgspec.Raw(invoker(node))
        self._invoker: Final = msgspec.UNSET if spelling == "instance" else _minimal(node)

    def encode(self, ack: Ack, request: Request, activation: Activation) -> bytes:
        """Return the message as JSON. `request` is what it answers: its `transid` is echoed as it came (spec T4).

        Records carry logs only for the Go variant's controller, which stores them; upstream's are empty (spec 2.4.3).
        """
        transid = request.transaction.raw
        if ack is Ack.RESULT:
            return _encode(_Message(transid=transid, response=self._record(activation)))
        message = _Message(
            transid=transid,
            is_system_error=activation.is_system_error,
            instance=self._instance,
            invoker=self._invoker,
        )
        if ack is Ack.COMPLETION:
            message.activation_id = activation.activation_id
        else:
            message.response = self._record(activation) if ack is Ack.COMBINED else activation.activation_id
        return _encode(message)

    def _record(self, activation: Activation) -> Record:
        return record(activation, self._compat, activation.logs if self._compat == "functions" else ())


def _minimal(node: Node) -> msgspec.Raw:
    """Return what the Go variant says of itself, its memory included (spec 2.8.2)."""
    return msgspec.Raw(_encode({"instance": node.id, "userMemory": "0 g"}))
