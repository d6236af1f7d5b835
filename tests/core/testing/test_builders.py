"""What builders make is valid and nobody else's."""

import json
import re
from collections.abc import Callable

import msgspec
import pytest

from invoker.entities.activation import Status
from invoker.testing import builders
from invoker.testing.builders import (
    a_caller,
    a_function,
    a_ref,
    a_request,
    a_runtime,
    a_spec,
    a_transaction,
    an_activation,
    an_executable,
    an_outcome,
)
from invoker.wire import record


@pytest.mark.parametrize(
    ("make", "of_its_own"),
    [
        (an_activation, ("activation_id", "start")),
        (a_function, ("name",)),
        (a_ref, ("name",)),
        (a_caller, ("namespace_uuid", "authkey")),
        (a_transaction, ("id", "raw")),
        (a_request, ("activation_id", "transaction", "function", "caller")),
        (a_spec, ("name",)),
    ],
)
def test_each_one_has_ids_of_its_own(make: Callable[[], object], of_its_own: tuple[str, ...]) -> None:
    one, other = make(), make()

    assert [name for name in of_its_own if getattr(one, name) == getattr(other, name)] == []


def test_activation_ids_are_what_controllers_accept() -> None:
    for made in (an_activation(), a_request()):
        assert re.fullmatch(r"[0-9a-f]{32}", made.activation_id)  # spec 1.2.2


def test_an_activation_can_be_written_and_read() -> None:
    activation = an_activation(logs=("hello",))

    assert record.read(record.recorded(activation, compat="openwhisk", updated=0).document) == activation


def test_every_field_can_be_changed() -> None:
    assert an_activation(start=5, end=7, namespace="zoe").duration == 2
    assert a_function(path="guest/pkg", name="hi").document_id == "guest/pkg/hi"
    assert a_caller(namespace="zoe").namespace == "zoe"
    assert a_runtime(kind="go:1").kind == "go:1"
    assert a_spec(memory=1).memory == 1
    with pytest.raises(TypeError):
        an_activation(nonsense=1)


def test_an_activation_that_starts_then_ends_after_it() -> None:
    assert an_activation(start=1000).duration == 24


def test_a_ref_asks_for_the_function_as_it_is_stored() -> None:
    function = a_function(path="guest/pkg", version="0.0.7", revision="3-abc")

    ref = a_ref(function, binding="zoe/mine")

    assert (ref.document_id, ref.version, ref.revision) == (function.document_id, "0.0.7", "3-abc")
    assert ref.binding == "zoe/mine"


def test_a_request_asks_for_a_function_or_a_reference() -> None:
    function = a_function()

    assert a_request(function).function == a_ref(function)
    assert a_request(a_ref(function, revision="1-a")).function.revision == "1-a"


def test_a_transaction_says_the_same_twice() -> None:
    transaction = a_transaction(id="abc", start=5, extra_logging=True)

    assert json.loads(bytes(transaction.raw)) == ["abc", 5, True]
    assert bytes(a_transaction(raw=msgspec.Raw(b"[]")).raw) == b"[]"


def test_sizes_are_counted_as_openwhisk_does() -> None:
    outcome = an_outcome('"ä🐍"'.encode(), Status.APPLICATION_ERROR)

    assert (outcome.size, outcome.status) == (5, Status.APPLICATION_ERROR)  # UTF-16 units (spec 8.4.4)


def test_an_executable_runs_its_function() -> None:
    function, runtime = a_function(), a_runtime()

    assert an_executable(function, runtime).function is function
    assert an_executable(function, runtime).runtime is runtime


def test_the_builders_of_the_module_are_all_looked_at() -> None:
    made = {name for name in vars(builders) if name.startswith(("a_", "an_"))}

    assert made - set(globals()) == {"an_id"}
