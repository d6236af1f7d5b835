"""The function cache: one fetch for many waiters, bounded in bytes and idle time."""

import asyncio

import pytest

from invoker.config import ByteSize, FunctionsSettings, Seconds
from invoker.entities.function import Function, FunctionRef
from invoker.entities.runtimes import Runtimes
from invoker.errors import FunctionNotFound, FunctionUnreadable, StoreUnavailable
from invoker.functions import FunctionCache, function_cache
from invoker.testing.builders import a_function, a_ref, a_runtime

PYTHON = a_runtime(kind="python:3.11", default=True)
RUNTIMES = Runtimes([PYTHON, a_runtime(kind="java:17", family="java", require_main=True)])


class Library:
    """A store that counts, and answers when it is told to."""

    def __init__(self, *functions: Function, failure: Exception | None = None) -> None:
        self.functions = {one.document_id: one for one in functions}
        self.failure = failure
        self.asked: list[tuple[FunctionRef, bool]] = []
        self.asking = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        self.asked.append((ref, exact))
        self.asking.set()
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        if ref.document_id not in self.functions:
            raise FunctionNotFound(ref.document_id)
        return self.functions[ref.document_id]


def a_stored_function(code: str = "x", **changes: object) -> Function:
    return a_function(revision="1-a", kind="python:default", code=code, **changes)


async def test_what_was_fetched_once_is_here() -> None:
    function = a_stored_function()
    library = Library(function)

    async with function_cache(library, RUNTIMES, FunctionsSettings(), exact=False) as cache:
        before = cache.cached(a_ref(function))
        fetched = await cache.fetch(a_ref(function))

        assert before is None
        assert cache.cached(a_ref(function)) is fetched
        assert len(library.asked) == 1


async def test_a_kind_is_resolved_and_the_digest_is_there() -> None:
    """Spec 6.3.2, T34."""
    function = a_stored_function()

    async with function_cache(Library(function), RUNTIMES, FunctionsSettings(), exact=False) as cache:
        fetched = await cache.fetch(a_ref(function))

    assert fetched.runtime.kind == "python:3.11"
    assert len(fetched.function.digest) == 32


async def test_many_waiters_share_one_fetch() -> None:
    function = a_stored_function()
    library = Library(function)
    library.open.clear()

    async with (
        function_cache(library, RUNTIMES, FunctionsSettings(), exact=False) as cache,
        asyncio.TaskGroup() as tasks,
    ):
        waiters = [tasks.create_task(cache.fetch(a_ref(function))) for _ in range(20)]
        await library.asking.wait()
        library.open.set()

    assert len(library.asked) == 1
    assert {waiter.result().function.name for waiter in waiters} == {function.name}


async def test_a_waiter_that_gives_up_spoils_it_for_nobody() -> None:
    function = a_stored_function()
    library = Library(function)
    library.open.clear()

    async with function_cache(library, RUNTIMES, FunctionsSettings(), exact=False) as cache:
        first = asyncio.create_task(cache.fetch(a_ref(function)))
        second = asyncio.create_task(cache.fetch(a_ref(function)))
        await library.asking.wait()
        first.cancel()
        library.open.set()

        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).function.name == function.name


async def test_without_a_revision_the_store_is_asked_every_time() -> None:
    """Spec 6.7.4, T32: the health action changes under the same name."""
    function = a_stored_function()
    library = Library(function)
    ref = a_ref(function, revision=None)

    async with function_cache(library, RUNTIMES, FunctionsSettings(), exact=True) as cache:
        await cache.fetch(ref)
        await cache.fetch(ref)

        assert cache.cached(ref) is None
        assert [exact for _, exact in library.asked] == [False, False]


async def test_a_failure_is_not_kept() -> None:
    """Spec 6.7.5."""
    function = a_stored_function()
    library = Library(function, failure=StoreUnavailable("down"))

    async with function_cache(library, RUNTIMES, FunctionsSettings(), exact=False) as cache:
        with pytest.raises(StoreUnavailable):
            await cache.fetch(a_ref(function))
        library.failure = None

        assert (await cache.fetch(a_ref(function))).function.name == function.name


async def test_a_store_that_breaks_is_one_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    library = Library(failure=KeyError("a bug"))

    async with function_cache(library, RUNTIMES, FunctionsSettings(), exact=False) as cache:
        with pytest.raises(StoreUnavailable, match="a bug"):
            await cache.fetch(a_ref())

    assert "Traceback" in caplog.text


async def test_a_kind_that_nothing_runs_is_named_with_those_that_are() -> None:
    function = a_function(kind="cobol:85", revision="1-a")

    async with function_cache(Library(function), RUNTIMES, FunctionsSettings(), exact=False) as cache:
        with pytest.raises(FunctionUnreadable, match=r"cobol:85.*java:17, python:3.11"):
            await cache.fetch(a_ref(function))


async def test_a_kind_that_needs_an_entry_point_refuses_a_function_without() -> None:
    """Spec 6.3.4."""
    function = a_function(kind="java:17", revision="1-a")

    async with function_cache(Library(function), RUNTIMES, FunctionsSettings(), exact=False) as cache:
        with pytest.raises(FunctionUnreadable, match="entry point"):
            await cache.fetch(a_ref(function))


async def filled(cache: FunctionCache, *functions: Function) -> list[FunctionRef]:
    refs = [a_ref(function) for function in functions]
    for ref in refs:
        await cache.fetch(ref)
    return refs


async def test_the_least_recently_used_gives_way_when_there_is_too_much_code() -> None:
    functions = [a_stored_function("x" * 4000) for _ in range(3)]
    settings = FunctionsSettings(cache_bytes=ByteSize(9000))

    async with function_cache(Library(*functions), RUNTIMES, settings, exact=False) as cache:
        first, second = await filled(cache, *functions[:2])
        cache.cached(first)
        (third,) = await filled(cache, functions[2])

        assert [cache.cached(ref) is not None for ref in (first, second, third)] == [True, False, True]
        assert cache.size == 8000


async def test_what_nobody_asks_for_is_dropped() -> None:
    """Spec 6.7.5: counted from the last access."""
    now = 0.0
    functions = [a_stored_function() for _ in range(2)]
    settings = FunctionsSettings(idle_timeout=Seconds(300))

    async with function_cache(Library(*functions), RUNTIMES, settings, exact=False, clock=lambda: now) as cache:
        asked, forgotten = await filled(cache, *functions)
        now = 200.0
        cache.cached(asked)
        now = 350.0
        cache.drop_idle()

        assert (cache.cached(asked) is not None, cache.cached(forgotten)) == (True, None)


async def test_functions_compatibility_asks_for_the_exact_revision() -> None:
    """Spec 6.7.9."""
    function = a_stored_function()
    library = Library(function)

    async with function_cache(library, RUNTIMES, FunctionsSettings(), exact=True) as cache:
        await cache.fetch(a_ref(function))

    assert library.asked[0][1] is True
