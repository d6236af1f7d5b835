"""What every activation store must do."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import msgspec
import pytest

from invoker.contracts import ActivationStore
from invoker.entities.activation import Activation, Status
from invoker.errors import RecordsRefused
from invoker.plugins import check_contract
from invoker.testing.builders import an_activation, an_outcome
from invoker.testing.function_store import PATIENCE, cancel

ReadBack: TypeAlias = Callable[[Activation], Awaitable[Mapping[str, Any] | None]]
"""Finds what is stored of a record: in OpenWhisk's form (spec 8.1), or `None`."""

HARD_JSON = (
    rb'{"half":"\ud800","other half":"\udc00x"}',  # escapes that are no Unicode: legal JSON all the same
    rb'{"nul":"\u0000","":""}',
    '{"ünï":"cödé 🐍","line":"\u2028"}'.encode(),
)


def document_of(activation: Activation) -> dict[str, Any]:
    """Return a record in OpenWhisk's form (spec 8.1), as far as the suite looks at it.

    For the `read_back` of stores that give an `Activation` back.
    """
    outcome = activation.outcome
    return {
        "namespace": activation.namespace,
        "activationId": activation.activation_id,
        "name": activation.name,
        "version": activation.version,
        "subject": activation.subject,
        "start": activation.start,
        "end": activation.end,
        "response": {"statusCode": outcome.status.value, "result": json.loads(bytes(outcome.response))},
        "logs": list(activation.logs),
    }


def excerpt(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what `document_of` has of something that is stored; a store may keep more."""
    if stored is None:
        return None
    fields = ("namespace", "activationId", "name", "version", "subject", "start", "end")
    response = {name: stored["response"].get(name) for name in ("statusCode", "result")}
    return {**{name: stored.get(name) for name in fields}, "response": response, "logs": stored.get("logs")}


async def kept_or_refused(store: ActivationStore, read_back: ReadBack, activation: Activation) -> None:
    """Put a record that not every store can take between two that each can; check that those are kept.

    It must be kept as it is, or refused by name.
    """
    before, after = an_activation(), an_activation()
    try:
        await store.put_many([before, activation, after])
    except RecordsRefused as error:
        assert set(error.refused) == {activation.activation_id}  # noqa: PT017 (either is right)
    else:
        assert excerpt(await read_back(activation)) == document_of(activation)
    assert excerpt(await read_back(before)) == document_of(before)
    assert excerpt(await read_back(after)) == document_of(after)


class ActivationStoreContract:
    """What every activation store must do: `class TestMine(ActivationStoreContract)`.

    Fixtures to provide:
        store: a ready store, empty, private to the test.
        read_back: async function from an `Activation` to what is stored of it, in OpenWhisk's form (spec 8.1), or to
            `None`. It must not go through `store`: a store can't vouch for itself.
    """

    @pytest.mark.asyncio
    async def test_a_store_has_what_the_contract_asks_for(self, store: ActivationStore) -> None:
        check_contract("yours", "open_activation_store", ActivationStore, store)

    @pytest.mark.asyncio
    async def test_what_was_put_is_there(self, store: ActivationStore, read_back: ReadBack) -> None:
        activation = an_activation(logs=("first\n", "héllo 🐍", "", "%s {} \\ \x1b[0m"))

        await store.put_many([an_activation(), activation, an_activation()])

        assert excerpt(await read_back(activation)) == document_of(activation)

    @pytest.mark.asyncio
    async def test_what_was_not_put_is_not_there(self, store: ActivationStore, read_back: ReadBack) -> None:
        await store.put_many([an_activation()])

        assert await read_back(an_activation()) is None

    @pytest.mark.asyncio
    async def test_nothing_may_be_put(self, store: ActivationStore, read_back: ReadBack) -> None:
        activation = an_activation()

        await store.put_many([])
        await store.put_many([activation])
        await store.put_many([])

        assert excerpt(await read_back(activation)) == document_of(activation)

    @pytest.mark.asyncio
    async def test_a_repeated_batch_is_no_error(self, store: ActivationStore, read_back: ReadBack) -> None:
        batch = [an_activation(logs=("hello",)), an_activation()]

        await store.put_many(batch)
        await store.put_many(batch)  # the first answer was lost

        assert [excerpt(await read_back(each)) for each in batch] == [document_of(each) for each in batch]

    @pytest.mark.asyncio
    async def test_what_is_new_in_a_repeated_batch_is_kept(self, store: ActivationStore, read_back: ReadBack) -> None:
        there, before, after = an_activation(), an_activation(), an_activation()
        await store.put_many([there])

        await store.put_many([before, there, after])

        assert [excerpt(await read_back(each)) for each in (there, before, after)] == [
            document_of(each) for each in (there, before, after)
        ]

    @pytest.mark.asyncio
    async def test_the_same_record_may_be_in_a_batch_twice(self, store: ActivationStore, read_back: ReadBack) -> None:
        activation, other = an_activation(), an_activation()

        await store.put_many([activation, other, activation])

        assert excerpt(await read_back(activation)) == document_of(activation)
        assert excerpt(await read_back(other)) == document_of(other)

    @pytest.mark.asyncio
    async def test_a_large_batch_is_kept_whole(self, store: ActivationStore, read_back: ReadBack) -> None:
        batch = [an_activation(logs=(f"line of {number}",)) for number in range(500)]

        await store.put_many(batch)

        assert [excerpt(await read_back(each)) for each in batch] == [document_of(each) for each in batch]

    @pytest.mark.asyncio
    async def test_one_id_in_two_namespaces_is_two_records(self, store: ActivationStore, read_back: ReadBack) -> None:
        activation = an_activation(namespace="guest", logs=("hello",))
        other = msgspec.structs.replace(activation, namespace="guest2", logs=("hi",))

        await store.put_many([activation, other])

        assert excerpt(await read_back(activation)) == document_of(activation)
        assert excerpt(await read_back(other)) == document_of(other)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("namespace", ["guest", "a b", "_", "A-1.x", "a@b.c", "a&b", "g" * 256])
    async def test_every_legal_namespace_has_records(
        self, store: ActivationStore, read_back: ReadBack, namespace: str
    ) -> None:
        activation = an_activation(namespace=namespace, path=f"{namespace}/pkg/{'n' * 256}", name="n" * 256)

        await store.put_many([activation])

        assert excerpt(await read_back(activation)) == document_of(activation)

    @pytest.mark.asyncio
    async def test_failures_are_records_like_others(self, store: ActivationStore, read_back: ReadBack) -> None:
        errors = [b"null", b'"text"', b'{"deep":[1,null]}', b"3.5"]
        batch = [
            an_activation(outcome=an_outcome(b'{"error":' + error + b"}", status))
            for status in Status
            for error in errors
        ]

        await store.put_many(batch)

        assert [excerpt(await read_back(each)) for each in batch] == [document_of(each) for each in batch]

    @pytest.mark.asyncio
    async def test_results_may_be_any_json(self, store: ActivationStore, read_back: ReadBack) -> None:
        results = [b"[]", b'[1,"two",null]', b"{}", b'{"a":{"b":[{"c":-0.5e-3}]}}', b'{"n":9007199254740991}']
        batch = [an_activation(outcome=an_outcome(result)) for result in results]

        await store.put_many(batch)

        assert [excerpt(await read_back(each)) for each in batch] == [document_of(each) for each in batch]

    @pytest.mark.asyncio
    async def test_a_record_may_have_everything_or_nothing(self, store: ActivationStore, read_back: ReadBack) -> None:
        full = an_activation(
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
        bare = an_activation(kind="unknown", limits=None, wait_time=None)

        await store.put_many([full, bare])

        assert excerpt(await read_back(full)) == document_of(full)
        assert excerpt(await read_back(bare)) == document_of(bare)

    @pytest.mark.asyncio
    async def test_a_result_of_a_megabyte_is_kept(self, store: ActivationStore, read_back: ReadBack) -> None:
        result = '{"text":"' + "ä" * (1 << 19) + '"}'
        activation = an_activation(outcome=an_outcome(result.encode()), logs=("hello",))

        await store.put_many([an_activation(), activation])

        assert excerpt(await read_back(activation)) == document_of(activation)

    @pytest.mark.asyncio
    async def test_ten_megabytes_of_logs_are_kept_or_refused(self, store: ActivationStore, read_back: ReadBack) -> None:
        lines = tuple(f"{number:4} " + "ö" * 5000 for number in range(1050))

        await kept_or_refused(store, read_back, an_activation(logs=lines))

    @pytest.mark.asyncio
    @pytest.mark.parametrize("result", HARD_JSON)
    async def test_json_that_is_hard_to_store_is_kept_or_refused(
        self, store: ActivationStore, read_back: ReadBack, result: bytes
    ) -> None:
        await kept_or_refused(store, read_back, an_activation(outcome=an_outcome(result)))

    @pytest.mark.asyncio
    async def test_a_batch_that_is_cancelled_can_be_put_again_and_takes_no_other_with_it(
        self, store: ActivationStore, read_back: ReadBack
    ) -> None:
        batches = [[an_activation(logs=("hello " * 100,)) for _ in range(30)] for _ in range(20)]

        await cancel([partial(store.put_many, batch) for batch in batches])

        async with asyncio.timeout(PATIENCE):
            for batch in batches[1:]:
                await store.put_many(batch)
        for each in itertools.chain(*batches):
            assert excerpt(await read_back(each)) == document_of(each)
