"""What every function store that can be written must do, besides what a `FunctionStore` must."""

import asyncio
from typing import Any

import msgspec
import pytest

from invoker.contracts import FunctionCatalog, FunctionStore
from invoker.entities.function import FunctionRef, Limits
from invoker.errors import FunctionNotFound, FunctionUnreadable
from invoker.plugins import check_contract
from invoker.testing.builders import a_function, a_ref
from invoker.testing.function_store import ILLEGAL, LEGAL, Put, contents

UNREADABLE: tuple[dict[str, Any], ...] = (
    {"kind": "sequence"},
    {"kind": "blackbox"},
    {"kind": "Python:3"},
    {"version": "0.0.0"},
    {"code": None},
    {"code": "\ud800"},
    {"code": "x = 1", "binary": True},
    {"parameters": msgspec.Raw(b'[{"key":"a"}]')},
    {"annotations": msgspec.Raw(b"[")},
)
"""What makes a function one that no action document can say."""


async def listed(catalog: FunctionCatalog, namespace: str) -> list[str]:
    """Return what is in a namespace, by document id."""
    return [function.document_id for function in await catalog.functions(namespace)]


@pytest.mark.asyncio
class FunctionCatalogContract:
    """What every catalog must do: `class TestMine(FunctionCatalogContract, FunctionStoreContract)`.

    Fixtures to provide:
        store: a ready store that has a `catalog`; empty, private to the test.
    """

    @pytest.fixture
    def catalog(self, store: FunctionStore) -> FunctionCatalog:
        """The store's own."""
        assert store.catalog is not None
        return store.catalog

    @pytest.fixture
    def put(self, catalog: FunctionCatalog) -> Put:
        """What `FunctionStoreContract` asks for."""
        return catalog.put

    async def test_a_catalog_has_what_the_contract_asks_for(self, catalog: FunctionCatalog) -> None:
        check_contract("yours", "open_function_store", FunctionCatalog, catalog)

    async def test_what_is_put_can_be_fetched_at_its_revision(
        self, store: FunctionStore, catalog: FunctionCatalog
    ) -> None:
        function = a_function()

        revision = await catalog.put(function)

        fetched = await store.fetch(a_ref(function, revision=revision), exact=True)
        assert contents(fetched) == contents(function)
        assert fetched.revision == revision

    async def test_annotations_and_parameters_can_be_read_back(
        self, store: FunctionStore, catalog: FunctionCatalog
    ) -> None:
        annotations = [{"key": "description", "value": "grüßt"}]
        parameters = [{"key": "name", "value": {"deep": [None, True, 1.5, "\\ud800"]}}]
        function = a_function(
            annotations=msgspec.Raw(msgspec.json.encode(annotations)),
            parameters=msgspec.Raw(msgspec.json.encode(parameters)),
        )

        await catalog.put(function)

        fetched = await store.fetch(a_ref(function), exact=False)
        kept = msgspec.json.decode(fetched.annotations)
        assert [each for each in kept if each in annotations] == annotations  # a store may add its own
        assert msgspec.json.decode(fetched.parameters) == parameters

    async def test_no_revision_comes_twice(self, store: FunctionStore, catalog: FunctionCatalog) -> None:
        function = a_function()
        revisions = [await catalog.put(function), await catalog.put(function)]
        await catalog.delete(a_ref(function))

        revisions += [await catalog.put(function), await catalog.put(function)]

        assert len(set(revisions)) == len(revisions)
        assert (await store.fetch(a_ref(function), exact=False)).revision == revisions[-1]

    async def test_the_revision_of_what_is_put_does_not_matter(
        self, store: FunctionStore, catalog: FunctionCatalog
    ) -> None:
        function = a_function()
        first = await catalog.put(function)
        await catalog.put(function)

        third = await catalog.put(msgspec.structs.replace(function, revision=first, code="new"))

        fetched = await store.fetch(a_ref(function), exact=False)
        assert (fetched.revision, fetched.code) == (third, "new")

    async def test_two_puts_at_once_are_one_after_the_other(
        self, store: FunctionStore, catalog: FunctionCatalog
    ) -> None:
        function = a_function()
        codes = [f"# {number}" for number in range(10)]
        changed = [msgspec.structs.replace(function, code=code) for code in codes]

        revisions = await asyncio.gather(*(catalog.put(each) for each in changed))

        assert len(set(revisions)) == len(codes)
        last = await store.fetch(a_ref(function), exact=False)
        assert dict(zip(revisions, codes, strict=True))[str(last.revision)] == last.code

    async def test_a_namespace_lists_its_functions_and_those_of_its_packages(self, catalog: FunctionCatalog) -> None:
        places = ["guest/z", "guest/pkg/b", "guest/pkg/a", "guest/pkg-a", "guest/A", "guest/a"]
        for path, _, name in (place.rpartition("/") for place in places):
            await catalog.put(a_function(path=path, name=name))

        assert await listed(catalog, "guest") == sorted(places)

    async def test_namespaces_do_not_mix(self, catalog: FunctionCatalog) -> None:
        namespaces = ["guest", "guest2", "gues_", "Guest", "guest-a", "guest a", "g", "_"]
        for namespace in namespaces:
            await catalog.put(a_function(path=namespace, name="one"))
            await catalog.put(a_function(path=f"{namespace}/guest", name="two"))

        for namespace in namespaces:
            assert await listed(catalog, namespace) == [f"{namespace}/guest/two", f"{namespace}/one"]
        for namespace in ("gues%", "%", "*", "", "..", "guest%20a", "guest+a", "guest/", "guest/guest"):
            assert await listed(catalog, namespace) == []

    async def test_a_namespace_without_functions_lists_none(self, catalog: FunctionCatalog) -> None:
        await catalog.put(a_function(path="guest", name="nobody"))
        await catalog.put(a_function(path="nobody2"))
        await catalog.put(a_function(path="guest/nobody"))

        assert await listed(catalog, "nobody") == []

    async def test_a_listed_function_is_whole_but_for_its_code(self, catalog: FunctionCatalog) -> None:
        function = a_function(path="guest/pkg", version="0.0.7", limits=Limits(100, 128, 0), main="start")
        function = msgspec.structs.replace(function, code="UEsDBBQA", binary=True)
        await catalog.put(function)
        revision = await catalog.put(function)

        (found,) = await catalog.functions("guest")

        assert found.revision == revision
        assert found.code in (None, function.code)
        assert contents(msgspec.structs.replace(found, code=function.code)) == contents(function)

    async def test_what_is_deleted_is_gone_and_nothing_else(
        self, store: FunctionStore, catalog: FunctionCatalog
    ) -> None:
        gone, stays = a_function(path="guest", name="hello"), a_function(path="guest/hello", name="hello")
        await catalog.put(stays)
        revision = await catalog.put(gone)

        await catalog.delete(a_ref(gone, revision=revision))

        with pytest.raises(FunctionNotFound):
            await store.fetch(a_ref(gone, revision=revision), exact=False)
        assert await listed(catalog, "guest") == [stays.document_id]
        assert contents(await store.fetch(a_ref(stays), exact=False)) == contents(stays)

    async def test_what_is_not_there_can_not_be_deleted(self, catalog: FunctionCatalog) -> None:
        function = a_function()
        await catalog.put(function)
        await catalog.delete(a_ref(function))

        for missing in (function, a_function()):
            with pytest.raises(FunctionNotFound) as caught:
                await catalog.delete(a_ref(missing))

            assert caught.value.document_id == missing.document_id

    async def test_what_was_deleted_can_be_put_again(self, store: FunctionStore, catalog: FunctionCatalog) -> None:
        function = a_function()
        await catalog.put(function)
        await catalog.delete(a_ref(function))

        revision = await catalog.put(function)

        assert (await store.fetch(a_ref(function, revision=revision), exact=True)).code == function.code
        assert await listed(catalog, "guest") == [function.document_id]

    async def test_what_no_document_can_say_is_unreadable_and_not_put(
        self, store: FunctionStore, catalog: FunctionCatalog
    ) -> None:
        function = a_function()
        revision = await catalog.put(function)
        named = [{"path": path, "name": name} for path, name in ILLEGAL]

        for changes in (*UNREADABLE, *named):
            wrong = msgspec.structs.replace(function, **changes)
            with pytest.raises(FunctionUnreadable) as caught:
                await catalog.put(wrong)

            assert caught.value.document_id == wrong.document_id

        assert await listed(catalog, "guest") == [function.document_id]
        assert (await store.fetch(a_ref(function), exact=False)).revision == revision

    async def test_a_name_that_is_not_legal_deletes_no_other(self, catalog: FunctionCatalog) -> None:
        for path, name in LEGAL:
            await catalog.put(a_function(path=path, name=name))
        before = len(await catalog.functions("guest"))

        for path, name in ILLEGAL:
            with pytest.raises(FunctionNotFound):
                await catalog.delete(FunctionRef(path=path, name=name))

        assert len(await catalog.functions("guest")) == before > 1
