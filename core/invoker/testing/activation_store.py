"""What every activation store must do."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
import pytest

from invoker.contracts import ActivationStore
from invoker.entities.activation import Activation, Status
from invoker.errors import RecordsRefused
from invoker.plugins import check_contract
from invoker.testing.builders import an_activation, an_outcome, as_records
from invoker.testing.function_store import PATIENCE, cancel
from invoker.wire.record import recorded

ReadBack: TypeAlias = Callable[[Activation], Awaitable[Mapping[str, Any] | None]]
"""Finds what is stored of a record: in OpenWhisk's form (spec 8.1), or `None`."""

HARD_JSON = (
    rb'{"half":"\ud800","other half":"\udc00x"}',  # escapes that are no Unicode: legal JSON all the same
    rb'{"nul":"\u0000","":""}',
    '{"ünï":"cödé 🐍","line":"\u2028"}'.encode(),
)

RECORDS: Final[Mapping[str, Sequence[Activation]]] = {
    "with logs": [
        an_activation(),
        an_activation(logs=("first\n", "héllo 🐍", "", "%s {} \\ \x1b[0m")),
        an_activation(),
    ],
    "of failures": [
        an_activation(outcome=an_outcome(b'{"error":' + error + b"}", status))
        for status in Status
        for error in (b"null", b'"text"', b'{"deep":[1,null]}', b"3.5")
    ],
    "with any JSON": [
        an_activation(outcome=an_outcome(result))
        for result in (b"[]", b'[1,"two",null]', b"{}", b'{"a":{"b":[{"c":-0.5e-3}]}}', b'{"n":9007199254740991}')
    ],
    "with all fields": [
        an_activation(
            init_time=90,
            wait_time=-3,  # clocks differ (spec 8.2.2)
            timed_out=True,
            cause="11112222333344445555666677778888",
            binding="zoe/mytools",
            blocking=True,
            main="start",
            caller_annotations=msgspec.Raw(b'[{"key":"plan","value":"free"}]'),
            notes=(("peakMemory", 268435456), ("reason", "cold")),
        )
    ],
    "with few fields": [an_activation(kind="unknown", limits=None, wait_time=None)],
    "of every legal namespace": [
        an_activation(namespace=namespace, path=f"{namespace}/pkg/{'n' * 256}", name="n" * 256)
        for namespace in ("guest", "a b", "_", "A-1.x", "a@b.c", "a&b", "g" * 256)
    ],
    "of a megabyte": [
        an_activation(),
        an_activation(outcome=an_outcome(f'{{"text":"{"ä" * (1 << 19)}"}}'.encode()), logs=("hello",)),
    ],
    "that are many": [an_activation(logs=(f"line of {number}",)) for number in range(500)],
}
"""Records that every store keeps."""


def document_of(activation: Activation) -> dict[str, Any]:
    """Return a record in OpenWhisk's form, for the `read_back` of stores that give an `Activation` back."""
    written: dict[str, Any] = json.loads(recorded(activation, compat="openwhisk", updated=0).document)
    return written


def excerpt(stored: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what the suite looks at of something that is stored; a store may keep more."""
    fields = ("namespace", "activationId", "name", "version", "subject", "start", "end", "logs")
    if stored is None:
        return None
    response = {name: stored["response"].get(name) for name in ("statusCode", "result")}
    return {name: stored.get(name) for name in fields} | {"response": response}


async def check_kept(read_back: ReadBack, *activations: Activation) -> None:
    """Check that records are stored as they are."""
    found = [excerpt(await read_back(each)) for each in activations]
    assert found == [excerpt(document_of(each)) for each in activations]


async def check_kept_or_refused(store: ActivationStore, read_back: ReadBack, activation: Activation) -> None:
    """Put a record that not every store can take between two that each can, which must be kept.

    It must be kept as it is, or refused by name.
    """
    before, after = an_activation(), an_activation()
    try:
        await store.put_many(as_records([before, activation, after]))
    except RecordsRefused as error:
        assert set(error.refused) == {activation.activation_id}  # noqa: PT017 (either is right)
    else:
        await check_kept(read_back, activation)
    await check_kept(read_back, before, after)


@pytest.mark.asyncio
class ActivationStoreContract:
    """What every activation store must do: `class TestMine(ActivationStoreContract)`.

    Fixtures to provide:
        store: a ready store, empty, private to the test.
        read_back: async function from an `Activation` to what is stored of it, in OpenWhisk's form (spec 8.1), or to
            `None`. It must not go through `store`: a store can't vouch for itself.
    """

    async def test_a_store_has_what_the_contract_asks_for(self, store: ActivationStore) -> None:
        check_contract("yours", "open_activation_store", ActivationStore, store)

    @pytest.mark.parametrize("batch", RECORDS.values(), ids=RECORDS)
    async def test_what_was_put_is_there(
        self, store: ActivationStore, read_back: ReadBack, batch: Sequence[Activation]
    ) -> None:
        await store.put_many(as_records(batch))

        await check_kept(read_back, *batch)

    async def test_what_was_not_put_is_not_there(self, store: ActivationStore, read_back: ReadBack) -> None:
        await store.put_many(as_records([an_activation()]))

        assert await read_back(an_activation()) is None

    async def test_nothing_may_be_put(self, store: ActivationStore, read_back: ReadBack) -> None:
        activation = an_activation()

        for batch in ([], [activation], []):
            await store.put_many(as_records(batch))

        await check_kept(read_back, activation)

    async def test_a_repeated_batch_is_no_error(self, store: ActivationStore, read_back: ReadBack) -> None:
        batch = [an_activation(logs=("hello",)), an_activation()]

        await store.put_many(as_records(batch))
        await store.put_many(as_records(batch))  # the first answer was lost

        await check_kept(read_back, *batch)

    async def test_what_is_new_in_a_repeated_batch_is_kept(self, store: ActivationStore, read_back: ReadBack) -> None:
        there, before, after = an_activation(), an_activation(), an_activation()
        await store.put_many(as_records([there]))

        await store.put_many(as_records([before, there, after]))

        await check_kept(read_back, there, before, after)

    async def test_the_same_record_may_be_in_a_batch_twice(self, store: ActivationStore, read_back: ReadBack) -> None:
        activation, other = an_activation(), an_activation()

        await store.put_many(as_records([activation, other, activation]))

        await check_kept(read_back, activation, other)

    async def test_one_id_in_two_namespaces_is_two_records(self, store: ActivationStore, read_back: ReadBack) -> None:
        activation = an_activation(namespace="guest", logs=("hello",))
        other = msgspec.structs.replace(activation, namespace="guest2", logs=("hi",))

        await store.put_many(as_records([activation, other]))

        await check_kept(read_back, activation, other)

    async def test_ten_megabytes_of_logs_are_kept_or_refused(self, store: ActivationStore, read_back: ReadBack) -> None:
        lines = tuple(f"{number:4} " + "ö" * 5000 for number in range(1050))

        await check_kept_or_refused(store, read_back, an_activation(logs=lines))

    @pytest.mark.parametrize("result", HARD_JSON)
    async def test_json_that_is_hard_to_store_is_kept_or_refused(
        self, store: ActivationStore, read_back: ReadBack, result: bytes
    ) -> None:
        await check_kept_or_refused(store, read_back, an_activation(outcome=an_outcome(result)))

    async def test_a_batch_that_is_cancelled_can_be_put_again_and_takes_no_other_with_it(
        self, store: ActivationStore, read_back: ReadBack
    ) -> None:
        batches = [[an_activation(logs=("hello " * 100,)) for _ in range(30)] for _ in range(20)]

        await cancel([partial(store.put_many, as_records(batch)) for batch in batches])

        async with asyncio.timeout(PATIENCE):
            for batch in batches[1:]:
                await store.put_many(as_records(batch))
        await check_kept(read_back, *itertools.chain(*batches))
