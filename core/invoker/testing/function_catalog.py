"""What every function store that can be written must do, besides what a `FunctionStore` must."""

import asyncio
from abc import ABC

import msgspec
import pytest

from invoker.contracts import FunctionCatalog, FunctionStore
from invoker.entities.function import Limits
from invoker.errors import FunctionNotFound
from invoker.testing.builders import a_function, a_ref
from invoker.testing.function_store import contents


class Catalog(FunctionStore, FunctionCatalog, ABC):
    """A function store that can be written."""


class FunctionCatalogContract:
    """What every catalog must do: `class TestMine(FunctionCatalogContract)`, beside `FunctionStoreContract`.

    Fixtures to provide:
        catalog: a ready store that is a `FunctionStore` and a `FunctionCatalog`; empty, private to the test.
    """

    @pytest.mark.asyncio
    async def test_what_is_put_can_be_fetched_at_its_revision(self, catalog: Catalog) -> None:
        function = a_function()

        revision = await catalog.put(function)

        fetched = await catalog.fetch(a_ref(function, revision=revision), exact=True)
        assert contents(fetched) == contents(function)
        assert fetched.revision == revision

    @pytest.mark.asyncio
    async def test_annotations_and_parameters_can_be_read_back(self, catalog: Catalog) -> None:
        annotations = [{"key": "description", "value": "grüßt"}]
        parameters = [{"key": "name", "value": {"deep": [None, True, 1.5, "\\ud800"]}}]
        function = a_function(
            annotations=msgspec.Raw(msgspec.json.encode(annotations)),
            parameters=msgspec.Raw(msgspec.json.encode(parameters)),
        )

        await catalog.put(function)

        fetched = await catalog.fetch(a_ref(function), exact=False)
        kept = msgspec.json.decode(fetched.annotations)
        assert [each for each in kept if each in annotations] == annotations  # a store may add its own
        assert msgspec.json.decode(fetched.parameters) == parameters

    @pytest.mark.asyncio
    async def test_no_revision_comes_twice(self, catalog: Catalog) -> None:
        function = a_function()
        revisions = [await catalog.put(function), await catalog.put(function)]
        await catalog.delete(a_ref(function))

        revisions += [await catalog.put(function), await catalog.put(function)]

        assert len(set(revisions)) == len(revisions)
        assert (await catalog.fetch(a_ref(function), exact=False)).revision == revisions[-1]

    @pytest.mark.asyncio
    async def test_the_revision_of_what_is_put_does_not_matter(self, catalog: Catalog) -> None:
        function = a_function()
        first = await catalog.put(function)
        await catalog.put(function)

        third = await catalog.put(msgspec.structs.replace(function, revision=first, code="new"))

        fetched = await catalog.fetch(a_ref(function), exact=False)
        assert (fetched.revision, fetched.code) == (third, "new")

    @pytest.mark.asyncio
    async def test_two_puts_at_once_are_one_after_the_other(self, catalog: Catalog) -> None:
        function = a_function()
        codes = [f"# {number}" for number in range(10)]
        changed = [msgspec.structs.replace(function, code=code) for code in codes]

        revisions = await asyncio.gather(*(catalog.put(each) for each in changed))

        assert len(set(revisions)) == len(codes)
        last = await catalog.fetch(a_ref(function), exact=False)
        assert dict(zip(revisions, codes, strict=True))[str(last.revision)] == last.code

    @pytest.mark.asyncio
    async def test_a_namespace_lists_its_functions_and_those_of_its_packages(self, catalog: Catalog) -> None:
        places = [
            ("guest", "z"),
            ("guest/pkg", "b"),
            ("guest/pkg", "a"),
            ("guest", "pkg-a"),
            ("guest", "Ä"),
            ("guest", "a"),
        ]
        for path, name in places:
            await catalog.put(a_function(path=path, name=name))

        listed = [function.document_id for function in await catalog.functions("guest")]

        assert listed == sorted(f"{path}/{name}" for path, name in places)

    @pytest.mark.asyncio
    async def test_namespaces_do_not_mix(self, catalog: Catalog) -> None:
        namespaces = ["guest", "guest2", "gues_", "gues%", "Guest", "guest-a", "g", "gäst"]
        for namespace in namespaces:
            await catalog.put(a_function(path=namespace, name="one"))
            await catalog.put(a_function(path=f"{namespace}/guest", name="two"))

        for namespace in namespaces:
            listed = [function.document_id for function in await catalog.functions(namespace)]

            assert listed == [f"{namespace}/guest/two", f"{namespace}/one"]

    @pytest.mark.asyncio
    async def test_a_namespace_without_functions_lists_none(self, catalog: Catalog) -> None:
        await catalog.put(a_function(path="guest", name="nobody"))
        await catalog.put(a_function(path="nobody2"))
        await catalog.put(a_function(path="guest/nobody"))

        assert list(await catalog.functions("nobody")) == []

    @pytest.mark.asyncio
    async def test_a_listed_function_is_whole_but_for_its_code(self, catalog: Catalog) -> None:
        function = a_function(path="guest/pkg", version="0.0.7", limits=Limits(100, 128, 0), binary=True, main="start")
        await catalog.put(function)
        revision = await catalog.put(function)

        (listed,) = await catalog.functions("guest")

        assert listed.revision == revision
        assert listed.code in (None, function.code)
        assert contents(msgspec.structs.replace(listed, code=function.code)) == contents(function)

    @pytest.mark.asyncio
    async def test_what_is_deleted_is_gone_and_nothing_else(self, catalog: Catalog) -> None:
        gone, stays = a_function(path="guest", name="hello"), a_function(path="guest/hello", name="hello")
        await catalog.put(stays)
        revision = await catalog.put(gone)

        await catalog.delete(a_ref(gone, revision=revision))

        with pytest.raises(FunctionNotFound):
            await catalog.fetch(a_ref(gone, revision=revision), exact=False)
        assert [function.document_id for function in await catalog.functions("guest")] == [stays.document_id]
        assert contents(await catalog.fetch(a_ref(stays), exact=False)) == contents(stays)

    @pytest.mark.asyncio
    async def test_what_is_not_there_can_not_be_deleted(self, catalog: Catalog) -> None:
        function = a_function()
        await catalog.put(function)
        await catalog.delete(a_ref(function))

        for missing in (function, a_function()):
            with pytest.raises(FunctionNotFound) as caught:
                await catalog.delete(a_ref(missing))

            assert caught.value.document_id == missing.document_id

    @pytest.mark.asyncio
    async def test_what_was_deleted_can_be_put_again(self, catalog: Catalog) -> None:
        function = a_function()
        await catalog.put(function)
        await catalog.delete(a_ref(function))

        revision = await catalog.put(function)

        assert (await catalog.fetch(a_ref(function, revision=revision), exact=True)).code == function.code
        assert len(await catalog.functions("guest")) == 1
