"""What every function store must do."""

import asyncio
import string
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import pytest

from invoker.contracts import FunctionStore
from invoker.entities.function import Function, FunctionRef, Limits
from invoker.errors import FunctionNotFound
from invoker.plugins import check_contract
from invoker.testing.builders import a_function, a_ref

Put: TypeAlias = Callable[[Function], Awaitable[str]]
"""Stores a function, replacing an older revision; returns its revision."""

_NOBODYS = "7-0123456789abcdef0123456789abcdef"
"""A revision that no store gave to anything here."""

PATIENCE = 60
"""Seconds; a call that takes longer waits for what a cancelled one has kept to itself."""

_KEPT = (
    *("path", "name", "version", "kind", "image", "code", "binary"),
    *("main", "limits", "provide_api_key"),
)

_LEGAL_NAMES = (
    *("a", "A", "b", "a b", "a  b", "a_b", "a-b", "a.b", "a@b", "a&b", "a.", "_", "1", "l", "I"),
    *("n" * 256, "n" * 255 + "N", f"{string.ascii_letters}{string.digits}_@ .&-_"),
)
_LEGAL_PATHS = ("guest/a", "guest/A", "guest/b c", "guest/guest", "guest2", "gues", "gues_", "Guest")
_ILLEGAL_NAMES = (
    *("a%20b", "a+b", "a%2Eb", "a\tb", "a ", " a", "a\n", "a\0", "%", "*", "?", "[a]", "", "..", "."),
    *("a/b", "/a", "a/", "../guest/a", "a?x", "?x", "a#", "#", "\u00e4", "a\u0301"),
)
_ILLEGAL_PATHS = ("", "/guest", "guest/", "guest/.", "guest%2Fa", "gues%", "gues?", "*", "..", "gu\u00e9st")


def _places(names: Sequence[str], paths: Sequence[str]) -> list[tuple[str, str]]:
    return [*(("guest", name) for name in names), *((path, "a") for path in paths)]


LEGAL = [*_places(_LEGAL_NAMES, _LEGAL_PATHS), ("g" * 256 + "/" + "p" * 256, "n" * 256)]
"""Paths and names as spec 1.4.3 allows them, many of them much alike."""
ILLEGAL = _places(_ILLEGAL_NAMES, _ILLEGAL_PATHS)
"""What is no path or name, though databases, URLs and file systems may take some for one of the others."""

FUNCTIONS = {
    "with all fields": a_function(version="1.2.3", main="start", limits=Limits(500, 512, 1, 4), provide_api_key=False),
    "with odd text": a_function(code='# ünï\u2028cödé 🐍 \\ud83d "quoted" %s {}\r\n\tpass\x00\n', main="Haupt.für"),
    "with text like an archive": a_function(code="main", binary=False),
    "with empty text": a_function(code="", binary=False),
    "with a small archive": a_function(code="bWFpbg==", binary=True),
    "with two megabytes": a_function(code="UEsDBBQA" * (1 << 18), binary=True, kind="nodejs:default"),
    "with an image of a user and no code": a_function(kind="blackbox", image="example/own:1", code=None),
}
"""What every store keeps."""


def contents(function: Function) -> dict[str, Any]:
    """Return what the invoker uses of a function; annotations and parameters are only for people."""
    return {name: getattr(function, name) for name in _KEPT}


async def cancel(calls: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Make one call, then cancel all others, each a little later on its way: by turns of the loop, and by the time."""
    begun = time.monotonic()
    await calls[0]()
    took = time.monotonic() - begun
    for number, call in enumerate(calls[1:]):
        making = asyncio.ensure_future(call())
        if number % 2:
            await asyncio.wait({making}, timeout=took * number / len(calls))
        else:
            for _ in range(number // 2):
                await asyncio.sleep(0)
        making.cancel()
        await asyncio.wait({making})
        if not making.cancelled():
            making.result()


@pytest.mark.asyncio
class FunctionStoreContract:
    """What every function store must do: `class TestMine(FunctionStoreContract)`.

    Fixtures to provide:
        store: a ready store, empty, private to the test.
        put: async function that stores a `Function` in whatever way, replacing an older revision, and returns the
            new revision. `FunctionCatalogContract` has one.
    """

    async def test_a_store_has_what_the_contract_asks_for(self, store: FunctionStore) -> None:
        check_contract("yours", "open_function_store", FunctionStore, store)

    @pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
    async def test_what_was_put_is_fetched_as_it_was(self, store: FunctionStore, put: Put, function: Function) -> None:
        revision = await put(function)
        await put(a_function())

        for exact in (True, False):
            fetched = await store.fetch(a_ref(function, revision=revision), exact=exact)

            assert contents(fetched) == contents(function)
            assert fetched.revision == revision

    async def test_names_of_every_legal_kind_are_told_apart(self, store: FunctionStore, put: Put) -> None:
        functions = [a_function(path=path, name=name, code=f"# {path} {name}") for path, name in LEGAL]
        for function in functions:
            await put(function)

        fetched = [await store.fetch(a_ref(function), exact=False) for function in functions]

        assert [each.code for each in fetched] == [function.code for function in functions]
        assert [each.document_id for each in fetched] == [function.document_id for function in functions]

    async def test_without_exact_the_newest_revision_will_do(self, store: FunctionStore, put: Put) -> None:
        function = a_function(code="old")
        old = await put(function)
        new = await put(a_function(name=function.name, code="new"))

        for revision in (old, new, None, _NOBODYS):
            fetched = await store.fetch(a_ref(function, revision=revision), exact=False)

            assert fetched.revision in (new, revision)
            assert fetched.code == ("new" if fetched.revision == new else "old")

    async def test_exact_without_a_revision_is_the_newest(self, store: FunctionStore, put: Put) -> None:
        function = a_function(code="old")
        await put(function)
        new = await put(a_function(name=function.name, code="new"))

        fetched = await store.fetch(a_ref(function, revision=None), exact=True)

        assert (fetched.revision, fetched.code) == (new, "new")

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

    async def test_a_revision_that_never_was_is_not_found(self, store: FunctionStore, put: Put) -> None:
        function = a_function()
        await put(function)

        with pytest.raises(FunctionNotFound) as caught:
            await store.fetch(a_ref(function, revision=_NOBODYS), exact=True)

        assert (caught.value.document_id, caught.value.revision) == (function.document_id, _NOBODYS)

    @pytest.mark.parametrize("exact", [False, True])
    async def test_what_was_never_put_is_not_found(self, store: FunctionStore, put: Put, *, exact: bool) -> None:
        await put(a_function(path="guest", name="hello"))

        for path, name in (("guest", "hell"), ("guest", "hello2"), ("gues_", "hello"), ("guest/a", "b")):
            with pytest.raises(FunctionNotFound) as caught:
                await store.fetch(FunctionRef(path=path, name=name), exact=exact)

            assert caught.value.document_id == f"{path}/{name}"

    async def test_a_name_that_is_not_legal_is_never_taken_for_another(self, store: FunctionStore, put: Put) -> None:
        for path, name in LEGAL:
            await put(a_function(path=path, name=name))

        for path, name in ILLEGAL:
            with pytest.raises(FunctionNotFound) as caught:
                await store.fetch(FunctionRef(path=path, name=name), exact=False)

            assert caught.value.document_id == f"{path}/{name}"

    async def test_many_may_ask_at_once(self, store: FunctionStore, put: Put) -> None:
        functions = [a_function(code=f"# {number}") for number in range(10)]
        for function in functions:
            await put(function)

        fetched = await asyncio.gather(*(store.fetch(a_ref(each), exact=False) for each in functions * 5))

        assert [each.code for each in fetched] == [each.code for each in functions * 5]

    async def test_a_fetch_that_is_cancelled_takes_nothing_from_the_next(self, store: FunctionStore, put: Put) -> None:
        function = a_function(code="# " + "long " * 100_000)
        await put(function)

        await cancel([lambda: store.fetch(a_ref(function), exact=False)] * 30)

        async with asyncio.timeout(PATIENCE):
            assert contents(await store.fetch(a_ref(function), exact=False)) == contents(function)
