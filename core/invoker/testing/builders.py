"""Valid entities in a line, each with ids of its own: `an_activation(namespace="zoe", logs=("hello",))`.

Every builder takes the entity's fields by name; what isn't named has a value that is valid and plausible.
"""

import itertools
import uuid
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from invoker.entities.activation import Activation, ActivationRecord, Outcome, Status
from invoker.entities.container import ContainerSpec
from invoker.entities.function import Executable, Function, FunctionRef, Limits
from invoker.entities.request import Caller, CallerLimits, Request, Transaction
from invoker.entities.runtimes import Runtime
from invoker.wire.record import recorded

NOW: Final = 1_790_000_000_000
"""When the first entity of a test begins, in Unix milliseconds; later ones begin later."""

_numbers: Final = itertools.count(1)


def an_id() -> str:
    """Return an activation id that nobody else has: 32 characters of `[0-9a-f]` (spec 1.2.2)."""
    return uuid.uuid4().hex


def an_outcome(response: bytes = b'{"ok":true}', status: Status = Status.SUCCESS) -> Outcome:
    """Return how an invocation ended; `response` is JSON."""
    size = len(response.decode(errors="surrogatepass").encode("utf-16-le")) // 2
    return Outcome(status, msgspec.Raw(response), size)


def an_activation(**changes: Any) -> Activation:
    """Return a record: warm, successful, without logs. Each one starts a millisecond after the one before."""
    start = changes.get("start", NOW + next(_numbers))
    return msgspec.structs.replace(
        Activation(
            activation_id=an_id(),
            namespace="guest",
            subject="guest-subject",
            path="guest/hello",
            name="hello",
            version="0.0.1",
            kind="python:3",
            limits=Limits(),
            outcome=an_outcome(),
            start=start,
            end=start + 24,
            wait_time=5,
        ),
        **changes,
    )


def as_records(activations: Iterable[Activation]) -> list[ActivationRecord]:
    """Return what stores are given of activations."""
    return [recorded(one, compat="openwhisk", updated=NOW) for one in activations]


def a_function(**changes: Any) -> Function:
    """Return a Python function with a name of its own and no revision: it wasn't stored yet."""
    return msgspec.structs.replace(
        Function(
            path="guest",
            name=f"hello-{next(_numbers)}",
            kind="python:3",
            code="def main(args):\n    return {'ok': True}\n",
        ),
        **changes,
    )


def a_ref(function: Function | None = None, **changes: Any) -> FunctionRef:
    """Return the reference by which a message asks for `function`, its revision included."""
    asked = function or a_function()
    ref = FunctionRef(path=asked.path, name=asked.name, version=asked.version, revision=asked.revision)
    return msgspec.structs.replace(ref, **changes)


def a_runtime(**changes: Any) -> Runtime:
    """Return a kind as a manifest lists it."""
    return msgspec.structs.replace(
        Runtime(kind="python:3", family="python", image="example/python:3", concurrent=True), **changes
    )


def an_executable(function: Function | None = None, runtime: Runtime | None = None) -> Executable:
    """Return a function whose kind is resolved."""
    return Executable(function or a_function(), runtime or a_runtime())


def a_caller(**changes: Any) -> Caller:
    """Return someone who invokes, with a key of their own."""
    namespace_uuid = str(uuid.uuid4())
    return msgspec.structs.replace(
        Caller(
            subject="guest-subject",
            namespace="guest",
            namespace_uuid=namespace_uuid,
            authkey=msgspec.Raw(f'{{"api_key":"{namespace_uuid}:{"k" * 64}"}}'.encode()),
            limits=CallerLimits(),
        ),
        **changes,
    )


def a_transaction(**changes: Any) -> Transaction:
    """Return where a request came from; its raw form says the same (spec 1.3), unless it is given."""
    transaction = msgspec.structs.replace(
        Transaction(id=uuid.uuid4().hex, start=NOW + next(_numbers), extra_logging=False, raw=msgspec.Raw()),
        **changes,
    )
    if "raw" in changes:
        return transaction
    array = [transaction.id, transaction.start, *([True] if transaction.extra_logging else [])]
    return msgspec.structs.replace(transaction, raw=msgspec.Raw(msgspec.json.encode(array)))


def a_request(function: Function | FunctionRef | None = None, **changes: Any) -> Request:
    """Return a blocking request for `function`, or for one of its own, with `{"name":"you"}` as arguments."""
    ref = function if isinstance(function, FunctionRef) else a_ref(function)
    return msgspec.structs.replace(
        Request(
            activation_id=an_id(),
            transaction=a_transaction(),
            function=ref,
            caller=a_caller(),
            controller="0",
            blocking=True,
            content=msgspec.Raw(b'{"name":"you"}'),
        ),
        **changes,
    )


def a_spec(**changes: Any) -> ContainerSpec:
    """Return what to start: a container with a name of its own and 256 MB."""
    return msgspec.structs.replace(
        ContainerSpec(name=f"wsk_{next(_numbers)}", runtime=a_runtime(), memory=256 << 20),
        **changes,
    )
