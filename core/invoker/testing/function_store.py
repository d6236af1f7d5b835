"""What every function store must do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from invoker.contracts import FunctionStore
from invoker.entities.function import Function, FunctionRef, Limits
from invoker.errors import FunctionNotFound
from invoker.testing.builders import a_function, a_ref

Put: TypeAlias = Callable[[Function], Awaitable[str]]
"""Stores a function, replacing an older revision; returns its revision."""

_NOBODYS = "7-0123456789abcdef0123456789abcdef"
"""A revision that no store gave to anything here."""

_KEPT = (
    *("path", "name", "version", "kind", "image", "code", "binary"),
    *("main", "limits", "provide_api_key"),
)


def contents(function: Function) -> dict[str, Any]:
    """Return what the invoker uses of a function; annotations and parameters are only for people."""
    return {name: getattr(function, name) for name in _KEPT}


class FunctionStoreContract:
    """What every function store must do: `class TestMine(FunctionStoreContract)`.

    Fixtures to provide:
        store: a ready store, empty, private to the test.
        put: async function that stores a `Function` in whatever way, replacing an older revision, and returns the
            new revision.
    """

    @pytest.mark.asyncio
    async def test_what_was_put_is_fetched_with_its_code(self, store: FunctionStore, put: Put) -> None:
        function = a_function(version="1.2.3", main="start", limits=Limits(500, 512, 1, 4), provide_api_key=False)
        revision = await put(function)
        await put(a_function())

        fetched = await store.fetch(a_ref(function, revision=revision), exact=True)

        assert contents(fetched) == contents(function)
        assert fetched.revision == revision

    @pytest.mark.asyncio
    async def test_text_is_kept_as_it_is(self, store: FunctionStore, put: Put) -> None:
        function = a_function(code='# ünï\u2028cödé 🐍 \\ud83d "quoted" %s {}\r\n\tpass\x00\n', main="Haupt.für")
        await put(function)

        assert contents(await store.fetch(a_ref(function), exact=False)) == contents(function)

    @pytest.mark.asyncio
    async def test_an_archive_of_two_megabytes_is_kept(self, store: FunctionStore, put: Put) -> None:
        function = a_function(code="UEsDBBQA" * (1 << 18), binary=True, kind="nodejs:default")
        await put(function)

        assert contents(await store.fetch(a_ref(function), exact=False)) == contents(function)

    @pytest.mark.asyncio
    async def test_an_image_of_a_user_needs_no_code(self, store: FunctionStore, put: Put) -> None:
        function = a_function(kind="blackbox", image="example/own:1", code=None)
        await put(function)

        assert contents(await store.fetch(a_ref(function), exact=False)) == contents(function)

    @pytest.mark.asyncio
    async def test_names_of_every_legal_kind_are_told_apart(self, store: FunctionStore, put: Put) -> None:
        places = [
            *(("guest", name) for name in ("a", "A", "a b", "a%20b", "a+b@c.d-e_f&g", "ä", "_", "%")),
            *((path, "a") for path in ("guest/a", "guest/b c", "guest2", "gues", "gäst")),
        ]
        functions = [a_function(path=path, name=name, code=f"# {path} {name}") for path, name in places]
        for function in functions:
            await put(function)

        fetched = [await store.fetch(a_ref(function), exact=False) for function in functions]

        assert [each.code for each in fetched] == [function.code for function in functions]
        assert [each.document_id for each in fetched] == [function.document_id for function in functions]

    @pytest.mark.asyncio
    async def test_without_exact_the_newest_revision_will_do(self, store: FunctionStore, put: Put) -> None:
        function = a_function(code="old")
        old = await put(function)
        new = await put(a_function(name=function.name, code="new"))

        for revision in (old, new, None, _NOBODYS):
            fetched = await store.fetch(a_ref(function, revision=revision), exact=False)

            assert fetched.revision in (new, revision)
            assert fetched.code == ("new" if fetched.revision == new else "old")

    @pytest.mark.asyncio
    async def test_exact_without_a_revision_is_the_newest(self, store: FunctionStore, put: Put) -> None:
        function = a_function(code="old")
        await put(function)
        new = await put(a_function(name=function.name, code="new"))

        fetched = await store.fetch(a_ref(function, revision=None), exact=True)

        assert (fetched.revision, fetched.code) == (new, "new")

    @pytest.mark.asyncio
    async def test_exact_never_gives_another_revision(self, store: FunctionStore, put: Put) -> None:
        function = a_function(code="old")
        old = await put(function)
        await put(a_function(name=function.name, code="new"))

        try:
            fetched = await store.fetch(a_ref(function, revision=old), exact=True)
        except FunctionNotFound as error:
            assert (error.document_id, error.revision) == (function.document_id, old)  # noqa: PT017 (either is right)
        else:  # a store may keep older revisions
            assert (fetched.revision, fetched.code) == (old, "old")

    @pytest.mark.asyncio
    async def test_a_revision_that_never_was_is_not_found(self, store: FunctionStore, put: Put) -> None:
        function = a_function()
        await put(function)

        with pytest.raises(FunctionNotFound) as caught:
            await store.fetch(a_ref(function, revision=_NOBODYS), exact=True)

        assert (caught.value.document_id, caught.value.revision) == (function.document_id, _NOBODYS)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("exact", [False, True])
    async def test_what_was_never_put_is_not_found(self, store: FunctionStore, put: Put, exact: bool) -> None:  # noqa: FBT001 (pytest passes it by name)
        await put(a_function(path="guest", name="hello"))

        for path, name in (
            ("guest", "hell"),
            ("guest", "hello2"),
            ("guest", "%"),
            ("gues_", "hello"),
            ("guest/a", "b"),
        ):
            with pytest.raises(FunctionNotFound) as caught:
                await store.fetch(FunctionRef(path=path, name=name), exact=exact)

            assert caught.value.document_id == f"{path}/{name}"

    @pytest.mark.asyncio
    async def test_many_may_ask_at_once(self, store: FunctionStore, put: Put) -> None:
        functions = [a_function(code=f"# {number}") for number in range(10)]
        for function in functions:
            await put(function)

        fetched = await asyncio.gather(*(store.fetch(a_ref(each), exact=False) for each in functions * 5))

        assert [each.code for each in fetched] == [each.code for each in functions * 5]
