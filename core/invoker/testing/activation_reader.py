"""What every activation store that can be read must do, besides what an `ActivationStore` must."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from invoker.contracts import ActivationReader, ActivationStore
from invoker.entities.activation import Activation, Status
from invoker.entities.function import Limits
from invoker.plugins import check_contract
from invoker.testing.activation_store import document_of
from invoker.testing.builders import an_activation, an_id, an_outcome, as_records
from invoker.testing.function_store import PATIENCE


def contents(activation: Activation | None) -> dict[str, Any] | None:
    """Return what a record says; how its JSON is written doesn't matter."""
    return None if activation is None else document_of(activation)


def _ids(activations: Any) -> list[str]:
    return [activation.activation_id for activation in activations]


async def begun(records: AsyncIterator[Activation], store: ActivationStore, namespace: str) -> None:
    """Make sure that `records` follows: put records until one comes out."""
    first = asyncio.ensure_future(anext(records))
    try:
        while not first.done():
            await store.put_many(as_records([an_activation(namespace=namespace, subject="marker")]))
            await asyncio.wait({first}, timeout=0.05)
        assert first.result().subject == "marker"  # not what was there before
    finally:
        first.cancel()


async def taken(records: AsyncIterator[Activation], number: int) -> list[Activation]:
    """Return the next `number` records that `begun` didn't put."""
    found: list[Activation] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < number:
            activation = await anext(records)
            if activation.subject != "marker":
                found.append(activation)
    return found


@pytest.mark.asyncio
class ActivationReaderContract:
    """What every reader must do: `class TestMine(ActivationReaderContract, ActivationStoreContract)`.

    Fixtures to provide:
        store: a ready store that has a `reader`; empty, private to the test.
    """

    @pytest.fixture
    def reader(self, store: ActivationStore) -> ActivationReader:
        """The store's own."""
        assert store.reader is not None
        return store.reader

    async def test_a_reader_has_what_the_contract_asks_for(self, reader: ActivationReader) -> None:
        check_contract("yours", "open_activation_store", ActivationReader, reader)

    async def test_a_record_is_read_as_it_was_put(self, store: ActivationStore, reader: ActivationReader) -> None:
        activation = an_activation(
            path="acme/tools/resize",
            limits=Limits(100, 128, 0, 3),
            outcome=an_outcome('{"error":{"ünï":["cödé",1.5,null]}}'.encode(), Status.DEVELOPER_ERROR),
            init_time=90,
            cause=an_id(),
            binding="zoe/mytools",
            logs=("héllo 🐍", "", "two\nlines"),
        )
        bare = an_activation(kind="unknown", limits=None, wait_time=None)
        await store.put_many(as_records([an_activation(), activation, bare]))

        assert contents(await reader.get("guest", activation.activation_id)) == contents(activation)
        assert contents(await reader.get("guest", bare.activation_id)) == contents(bare)

    async def test_what_is_not_there_is_none(self, store: ActivationStore, reader: ActivationReader) -> None:
        activation = an_activation(namespace="guest")
        await store.put_many(as_records([activation]))

        assert await reader.get("guest", an_id()) is None
        assert await reader.get("guest2", activation.activation_id) is None
        for namespace in ("%", "*", "", "gues_", "guest/"):
            assert await reader.get(namespace, activation.activation_id) is None
        for activation_id in ("", "%", "*", "..", activation.activation_id[:-1]):
            assert await reader.get("guest", activation_id) is None

    async def test_the_newest_come_first_in_whatever_order_they_were_put(
        self, store: ActivationStore, reader: ActivationReader
    ) -> None:
        oldest, older, newer, newest = (an_activation(logs=("hello",)) for _ in range(4))
        await store.put_many(as_records([newer, oldest]))
        await store.put_many(as_records([newest, older]))

        recent = await reader.recent("guest", limit=10)

        assert _ids(recent) == _ids([newest, newer, older, oldest])

    async def test_a_listing_has_no_logs_and_all_else(self, store: ActivationStore, reader: ActivationReader) -> None:
        activation = an_activation(logs=("hello",), init_time=3)
        await store.put_many(as_records([activation]))

        (listed,) = await reader.recent("guest", limit=1)

        assert contents(listed) == contents(msgspec.structs.replace(activation, logs=()))

    async def test_a_listing_ends_at_its_limit(self, store: ActivationStore, reader: ActivationReader) -> None:
        batch = [an_activation() for _ in range(7)]
        await store.put_many(as_records(batch))

        recent = await reader.recent("guest", limit=3)

        assert _ids(recent) == _ids(batch[:-4:-1])

    async def test_namespaces_do_not_mix(self, store: ActivationStore, reader: ActivationReader) -> None:
        namespaces = ["guest", "guest2", "gues_", "Guest", "guest a", "guest-a", "g", "_____"]
        batch = [an_activation(namespace=namespace, path="guest/hello") for namespace in namespaces]
        await store.put_many(as_records(batch))

        for activation in batch:
            assert _ids(await reader.recent(activation.namespace, limit=10)) == _ids([activation])
            assert _ids(await reader.recent(activation.namespace, limit=10, action="guest/hello")) == _ids([activation])
        for namespace in ("nobody", "gues%", "%", "*", "", "..", "guest%20a", "guest+a", "gu\u00e9st", "guest/"):
            assert list(await reader.recent(namespace, limit=10)) == []

    async def test_one_action_is_listed_alone(self, store: ActivationStore, reader: ActivationReader) -> None:
        paths = ["guest/hello", "guest/hello2", "guest/pkg/hello", "guest/hell_", "guest/he llo", "acme/hello"]
        batch = [an_activation(path=path, name=path.rpartition("/")[2]) for path in paths * 3]
        await store.put_many(as_records(batch))

        for path in paths:
            recent = await reader.recent("guest", limit=2, action=path)

            assert _ids(recent) == _ids([each for each in batch if each.path == path][:-3:-1])
        for path in ("guest/nothing", "guest/%", "guest/he%20llo", "guest/he+llo", "guest/hello/", "guest", ""):
            assert list(await reader.recent("guest", limit=10, action=path)) == []

    async def test_a_repeated_record_is_listed_once(self, store: ActivationStore, reader: ActivationReader) -> None:
        activation = an_activation()
        await store.put_many(as_records([activation, activation]))
        await store.put_many(as_records([activation]))

        assert _ids(await reader.recent("guest", limit=10)) == _ids([activation])

    async def test_a_follower_sees_what_is_stored_from_now_on(
        self, store: ActivationStore, reader: ActivationReader
    ) -> None:
        await store.put_many(as_records([an_activation(), an_activation()]))
        following = reader.follow("guest")
        await begun(following, store, "guest")
        batches = [[an_activation(logs=("héllo",)), an_activation()], [an_activation(logs=("two", "lines"))]]

        for batch in batches:
            await store.put_many(as_records(batch))

        found = await taken(following, 3)
        assert [contents(each) for each in found] == [contents(each) for batch in batches for each in batch]

    async def test_a_follower_sees_a_repeated_record_once(
        self, store: ActivationStore, reader: ActivationReader
    ) -> None:
        following = reader.follow("guest")
        await begun(following, store, "guest")
        first, second = an_activation(), an_activation()

        for batch in ([first], [first, second], [first]):
            await store.put_many(as_records(batch))
        found = await taken(following, 2)

        assert _ids(found) == _ids([first, second])

    async def test_a_follower_sees_its_own_namespace(self, store: ActivationStore, reader: ActivationReader) -> None:
        following = reader.follow("guest")
        await begun(following, store, "guest")
        batch = [
            an_activation(namespace=namespace) for namespace in ("guest2", "guest", "gues_", "g", "Guest", "guest")
        ]

        await store.put_many(as_records(batch))

        found = await taken(following, 2)
        assert _ids(found) == _ids([batch[1], batch[5]])

    async def test_two_followers_both_see_everything(self, store: ActivationStore, reader: ActivationReader) -> None:
        one, other = reader.follow("guest"), reader.follow("guest")
        await begun(one, store, "guest")
        await begun(other, store, "guest")
        batch = [an_activation() for _ in range(250)]

        await store.put_many(as_records(batch))

        found = await asyncio.gather(taken(one, 250), taken(other, 250))
        assert _ids(found[0]) == _ids(batch)
        assert _ids(found[1]) == _ids(batch)
