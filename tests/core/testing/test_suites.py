"""The suites notice what is wrong: each of these stores, observers and judges breaks one promise."""

import asyncio
import fnmatch
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import unquote_plus

import msgspec
import pytest

from invoker.contracts import Admission, Observer
from invoker.entities.activation import Activation, ActivationRecord
from invoker.entities.function import Function, FunctionRef
from invoker.entities.request import Request
from invoker.errors import FunctionNotFound, InvokerError, RecordsRefused, StoreUnavailable
from invoker.testing.activation_reader import ActivationReaderContract
from invoker.testing.activation_store import RECORDS, ActivationStoreContract, document_of
from invoker.testing.admission import AdmissionContract
from invoker.testing.builders import a_caller, a_request
from invoker.testing.function_catalog import FunctionCatalogContract
from invoker.testing.function_store import FUNCTIONS, FunctionStoreContract
from invoker.testing.observer import ACTIVATIONS, ObserverContract
from invoker.testing.stores import MemoryActivations, MemoryStore
from invoker.wire.attachment import binary_code


async def notices(suite: object, test: str, **fixtures: Any) -> bool:
    """Run one test of a suite with those fixtures that it asks for; return whether it fails as tests should."""
    test, _, case = test.removesuffix("]").partition("[")
    fixtures |= {"batch": RECORDS.get(case), "function": FUNCTIONS.get(case)}
    run = getattr(suite, test)
    try:
        result = run(**{name: fixtures[name] for name in inspect.signature(run).parameters})
        if inspect.isawaitable(result):
            await result
    except (AssertionError, AttributeError, InvokerError, ValueError, pytest.fail.Exception):
        return True
    return False


class Nothing:
    """Has no part of any contract."""

    catalog = reader = None


async def interrupted() -> None:
    """Be somewhere where a call can be cancelled."""
    for _ in range(10):
        await asyncio.sleep(0)


class LosesLogs(MemoryActivations):
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        await super().put_many([msgspec.structs.replace(record, logs=b"[]") for record in batch])


class IsShyOfRepeats(MemoryActivations):
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        for record in batch:
            if (record.namespace, record.activation_id) in self.records:
                raise StoreUnavailable("conflict")
            await super().put_many([record])


class StopsAtRepeats(MemoryActivations):
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        for record in batch:
            if (record.namespace, record.activation_id) in self.records:
                return
            await super().put_many([record])


class MixesNamespaces(MemoryActivations):
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        known = {activation_id for _, activation_id in self.records}
        await super().put_many([record for record in batch if record.activation_id not in known][:1])


class TakesAHundred(MemoryActivations):
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        await super().put_many(batch[:100])


class RefusesAllForOne(MemoryActivations):
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        large = [record for record in batch if len(record.logs) > 100_000]
        if large:
            raise RecordsRefused({large[0].activation_id: "too large"})
        await super().put_many(batch)


class RefusesTheInnocent(MemoryActivations):
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        await super().put_many(batch)
        if any(len(record.logs) > 100_000 for record in batch):
            raise RecordsRefused({batch[0].activation_id: "too large"})


class ForgetsWhenCancelled(MemoryActivations):
    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        try:
            await interrupted()
        except asyncio.CancelledError:
            self.records.clear()
            raise
        await super().put_many(batch)


class StaysBusyWhenCancelled(MemoryActivations):
    busy = False

    async def put_many(self, batch: Sequence[ActivationRecord]) -> None:
        if self.busy:
            raise StoreUnavailable("another batch is being written")
        self.busy = True
        await interrupted()
        await super().put_many(batch)
        self.busy = False


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Nothing, "test_a_store_has_what_the_contract_asks_for"),
        (ForgetsWhenCancelled, "test_a_batch_that_is_cancelled_can_be_put_again_and_takes_no_other_with_it"),
        (StaysBusyWhenCancelled, "test_a_batch_that_is_cancelled_can_be_put_again_and_takes_no_other_with_it"),
        (LosesLogs, "test_what_was_put_is_there[with logs]"),
        (LosesLogs, "test_ten_megabytes_of_logs_are_kept_or_refused"),
        (IsShyOfRepeats, "test_a_repeated_batch_is_no_error"),
        (IsShyOfRepeats, "test_the_same_record_may_be_in_a_batch_twice"),
        (StopsAtRepeats, "test_what_is_new_in_a_repeated_batch_is_kept"),
        (MixesNamespaces, "test_one_id_in_two_namespaces_is_two_records"),
        (TakesAHundred, "test_what_was_put_is_there[that are many]"),
        (RefusesAllForOne, "test_ten_megabytes_of_logs_are_kept_or_refused"),
        (RefusesTheInnocent, "test_ten_megabytes_of_logs_are_kept_or_refused"),
    ],
)
async def test_a_wrong_activation_store_is_noticed(broken: type[MemoryActivations], test: str) -> None:
    async def read_back(activation: Activation) -> dict[str, Any] | None:
        found = store.records.get((activation.namespace, activation.activation_id))
        return None if found is None else document_of(found)

    store = broken()

    assert await notices(ActivationStoreContract(), test, store=store, read_back=read_back)


class ForgetsNamespaces(MemoryActivations):
    async def get(self, namespace: str, activation_id: str) -> Activation | None:
        return next((each for (_, known), each in self.records.items() if known == activation_id), None)

    async def recent(self, namespace: str, *, limit: int, action: str | None = None) -> Sequence[Activation]:
        found = [each for each in self.records.values() if each.namespace.startswith(namespace)]
        return [each for each in found if action is None or each.path.startswith(action)][:limit]


class ListsAll(MemoryActivations):
    async def recent(self, namespace: str, *, limit: int, action: str | None = None) -> Sequence[Activation]:
        found = [each for each in self.records.values() if each.namespace == namespace and action in (None, each.path)]
        return found[::-1] if limit else []


class FollowsFromTheStart(MemoryActivations):
    async def follow(self, namespace: str) -> AsyncIterator[Activation]:
        for activation in list(self.records.values()):
            yield activation
        async for activation in super().follow(namespace):
            yield activation


class FollowsEverybody(MemoryActivations):
    def follow(self, namespace: str) -> AsyncIterator[Activation]:
        class Anybody(str):
            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                return True

            __hash__ = str.__hash__

        return super().follow(Anybody(namespace))


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Nothing, "test_a_reader_has_what_the_contract_asks_for"),
        (LosesLogs, "test_a_record_is_read_as_it_was_put"),
        (ForgetsNamespaces, "test_what_is_not_there_is_none"),
        (ForgetsNamespaces, "test_namespaces_do_not_mix"),
        (ForgetsNamespaces, "test_one_action_is_listed_alone"),
        (ForgetsNamespaces, "test_the_newest_come_first_in_whatever_order_they_were_put"),
        (ListsAll, "test_the_newest_come_first_in_whatever_order_they_were_put"),
        (ListsAll, "test_a_listing_has_no_logs_and_all_else"),
        (ListsAll, "test_a_listing_ends_at_its_limit"),
        (LosesLogs, "test_a_follower_sees_what_is_stored_from_now_on"),
        (FollowsFromTheStart, "test_a_follower_sees_what_is_stored_from_now_on"),
        (FollowsEverybody, "test_a_follower_sees_its_own_namespace"),
    ],
)
async def test_a_wrong_reader_is_noticed(broken: type[MemoryActivations], test: str) -> None:
    assert await notices(ActivationReaderContract(), test, store=(store := broken()), reader=store.reader)


class IgnoresExact(MemoryStore):
    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        return await super().fetch(ref, exact=False)


class IsAlwaysExact(MemoryStore):
    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        return await super().fetch(ref, exact=True)


class LosesCode(MemoryStore):
    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        return msgspec.structs.replace(await super().fetch(ref, exact=exact), code=None)


class CleansText(MemoryStore):
    async def put(self, function: Function) -> str:
        return await super().put(msgspec.structs.replace(function, code=(function.code or "").strip()))


class GuessesArchives(MemoryStore):
    async def put(self, function: Function) -> str:
        return await super().put(msgspec.structs.replace(function, binary=binary_code(function.code or "")))


class Asked(MemoryStore):
    """A store that changes what it is asked for."""

    change: Callable[[str], str]

    def changed(self, ref: FunctionRef) -> FunctionRef:
        path, _, name = type(self).change(ref.document_id).rpartition("/")
        return msgspec.structs.replace(ref, path=path, name=name)

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        try:
            return await super().fetch(self.changed(ref), exact=exact)
        except FunctionNotFound as error:
            raise FunctionNotFound(ref.document_id, error.revision) from None

    async def delete(self, ref: FunctionRef) -> None:
        await super().delete(self.changed(ref))


class DecodesNames(Asked):
    change = staticmethod(unquote_plus)


class TrimsNames(Asked):
    change = staticmethod(str.strip)


class CutsAtQuestionMarks(Asked):
    @staticmethod
    def change(text: str) -> str:
        return text.partition("?")[0]


class ForgivesSlashes(Asked):
    @staticmethod
    def change(text: str) -> str:
        return "/".join(filter(None, text.split("/")))


class MatchesPatterns(MemoryStore):
    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        found = fnmatch.filter(self._functions, ref.document_id)
        if not found:
            raise FunctionNotFound(ref.document_id, ref.revision if exact else None)
        return self._functions[found[0]]


class CutsNames(Asked):
    @staticmethod
    def change(text: str) -> str:
        return text[:255]

    async def put(self, function: Function) -> str:
        return await super().put(msgspec.structs.replace(function, name=function.name[:255]))


class LosesConnectionsWhenCancelled(MemoryStore):
    connections = 5

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        if not self.connections:
            raise StoreUnavailable("all connections are in use")
        self.connections -= 1
        await interrupted()
        self.connections += 1
        return await super().fetch(ref, exact=exact)


class FailsWhenCancelled(MemoryStore):
    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        try:
            await interrupted()
        except asyncio.CancelledError:
            raise StoreUnavailable("no answer") from None
        return await super().fetch(ref, exact=exact)


class FoldsCase(MemoryStore):
    async def put(self, function: Function) -> str:
        return await super().put(msgspec.structs.replace(function, name=function.name.lower()))

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        return await super().fetch(msgspec.structs.replace(ref, name=ref.name.lower()), exact=exact)


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (LosesCode, "test_what_was_put_is_fetched_as_it_was[with all fields]"),
        (LosesCode, "test_what_was_put_is_fetched_as_it_was[with two megabytes]"),
        (CleansText, "test_what_was_put_is_fetched_as_it_was[with odd text]"),
        (CleansText, "test_what_was_put_is_fetched_as_it_was[with an image of a user and no code]"),
        (GuessesArchives, "test_what_was_put_is_fetched_as_it_was[with text like an archive]"),
        (Nothing, "test_a_store_has_what_the_contract_asks_for"),
        (FoldsCase, "test_names_of_every_legal_kind_are_told_apart"),
        (CutsNames, "test_names_of_every_legal_kind_are_told_apart"),
        (DecodesNames, "test_a_name_that_is_not_legal_is_never_taken_for_another"),
        (TrimsNames, "test_a_name_that_is_not_legal_is_never_taken_for_another"),
        (CutsAtQuestionMarks, "test_a_name_that_is_not_legal_is_never_taken_for_another"),
        (ForgivesSlashes, "test_a_name_that_is_not_legal_is_never_taken_for_another"),
        (MatchesPatterns, "test_a_name_that_is_not_legal_is_never_taken_for_another"),
        (LosesConnectionsWhenCancelled, "test_a_fetch_that_is_cancelled_takes_nothing_from_the_next"),
        (FailsWhenCancelled, "test_a_fetch_that_is_cancelled_takes_nothing_from_the_next"),
        (IsAlwaysExact, "test_without_exact_the_newest_revision_will_do"),
        (LosesCode, "test_exact_without_a_revision_is_the_newest"),
        (IgnoresExact, "test_exact_never_gives_another_revision"),
        (IgnoresExact, "test_a_revision_that_never_was_is_not_found"),
        (LosesCode, "test_many_may_ask_at_once"),
    ],
)
async def test_a_wrong_function_store_is_noticed(broken: type[MemoryStore], test: str) -> None:
    store = broken()

    assert await notices(FunctionStoreContract(), test, store=store, put=getattr(store, "put", None))


class StartsOver(MemoryStore):
    async def delete(self, ref: FunctionRef) -> None:
        await super().delete(ref)
        self._numbers.clear()


class ListsPrefixes(MemoryStore):
    async def functions(self, namespace: str) -> Sequence[Function]:
        return [each for each in self._functions.values() if each.path.startswith(namespace)]


class ForgetsPackages(MemoryStore):
    async def functions(self, namespace: str) -> Sequence[Function]:
        return [each for each in await super().functions(namespace) if each.path == namespace]


class DeletesAnything(MemoryStore):
    async def delete(self, ref: FunctionRef) -> None:
        for document_id in [known for known in self._functions if known.startswith(ref.document_id)]:
            del self._functions[document_id]


class NeverDeletes(MemoryStore):
    async def delete(self, ref: FunctionRef) -> None:
        if ref.document_id not in self._functions:
            raise FunctionNotFound(ref.document_id)


class LosesAnnotations(MemoryStore):
    async def put(self, function: Function) -> str:
        return await super().put(msgspec.structs.replace(function, annotations=msgspec.Raw(b"[]")))


class TakesAnything(MemoryStore):
    async def put(self, function: Function) -> str:
        return self._put(function)


class PutsFirst(MemoryStore):
    async def put(self, function: Function) -> str:
        self._put(function)
        return await super().put(function)


class ListsPatterns(MemoryStore):
    async def functions(self, namespace: str) -> Sequence[Function]:
        found = fnmatch.filter(self._functions, f"{namespace.replace('%', '*')}/*")
        return [self._functions[each] for each in sorted(found)]


class HasOneRevision(MemoryStore):
    async def put(self, function: Function) -> str:
        self._numbers.clear()
        return await super().put(function)


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Nothing, "test_a_catalog_has_what_the_contract_asks_for"),
        (TakesAnything, "test_what_no_document_can_say_is_unreadable_and_not_put"),
        (PutsFirst, "test_what_no_document_can_say_is_unreadable_and_not_put"),
        (ListsPatterns, "test_namespaces_do_not_mix"),
        (DecodesNames, "test_a_name_that_is_not_legal_deletes_no_other"),
        (LosesCode, "test_what_is_put_can_be_fetched_at_its_revision"),
        (LosesAnnotations, "test_annotations_and_parameters_can_be_read_back"),
        (StartsOver, "test_no_revision_comes_twice"),
        (HasOneRevision, "test_no_revision_comes_twice"),
        (LosesCode, "test_the_revision_of_what_is_put_does_not_matter"),
        (LosesCode, "test_two_puts_at_once_are_one_after_the_other"),
        (ForgetsPackages, "test_a_namespace_lists_its_functions_and_those_of_its_packages"),
        (ListsPrefixes, "test_a_namespace_lists_its_functions_and_those_of_its_packages"),
        (ListsPrefixes, "test_namespaces_do_not_mix"),
        (ListsPrefixes, "test_a_namespace_without_functions_lists_none"),
        (ForgetsPackages, "test_a_listed_function_is_whole_but_for_its_code"),
        (DeletesAnything, "test_what_is_deleted_is_gone_and_nothing_else"),
        (NeverDeletes, "test_what_is_deleted_is_gone_and_nothing_else"),
        (DeletesAnything, "test_what_is_not_there_can_not_be_deleted"),
        (LosesCode, "test_what_was_deleted_can_be_put_again"),
    ],
)
async def test_a_wrong_catalog_is_noticed(broken: type[MemoryStore], test: str) -> None:
    store = broken()

    assert await notices(FunctionCatalogContract(), test, store=store, catalog=store.catalog)


class NeedsLimits(Observer):
    def finished(self, request: Request, activation: Activation) -> None:
        assert activation.limits is not None


class DecodesResults(Observer):
    def finished(self, request: Request, activation: Activation) -> None:
        msgspec.json.decode(activation.outcome.response)


class Waits(Observer):
    async def finished(self, request: Request, activation: Activation) -> None:  # type: ignore[override]
        pass


class OpensLocks(Observer):
    def finished(self, request: Request, activation: Activation) -> None:
        request.locked.clear()


class CutsLogs(Observer):
    def finished(self, request: Request, activation: Activation) -> None:
        msgspec.structs.force_setattr(activation, "logs", ())


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Nothing, "test_it_has_what_the_contract_asks_for"),
        (NeedsLimits, "test_it_sees_whatever_ends_and_raises_nothing"),
        (DecodesResults, "test_it_sees_whatever_ends_and_raises_nothing"),
        (Waits, "test_it_sees_whatever_ends_and_raises_nothing"),
        (OpensLocks, "test_it_changes_nothing"),
        (CutsLogs, "test_it_changes_nothing"),
    ],
)
async def test_a_wrong_observer_is_noticed(broken: type[Observer], test: str) -> None:
    noticed = [await notices(ObserverContract(), test, observer=broken(), activation=each) for each in ACTIVATIONS]

    assert any(noticed)


class GivesNoReason(Admission):
    def refusal(self, request: Request) -> str | None:
        return "" if request.caller.namespace == "blocked" else None


class RefusesOnce(Admission):
    seen = 0

    def refusal(self, request: Request) -> str | None:
        self.seen += 1
        return "blocked" if self.seen == 1 else None


class RefusesAll(Admission):
    def refusal(self, request: Request) -> str | None:
        return "blocked"


class DecodesArguments(Admission):
    def refusal(self, request: Request) -> str | None:
        return msgspec.json.decode(request.content or b"null", type=dict[str, str] | None) and None


class AsksSomebody(Admission):
    async def refusal(self, request: Request) -> str | None:  # type: ignore[override]
        return None


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Nothing, "test_it_has_what_the_contract_asks_for"),
        (GivesNoReason, "test_a_refusal_is_a_text_for_the_caller"),
        (RefusesAll, "test_what_may_pass_gets_no_text"),
        (RefusesOnce, "test_the_answer_is_the_same_when_asked_again"),
        (AsksSomebody, "test_it_never_waits"),
        (DecodesArguments, "test_whatever_the_arguments_it_raises_nothing"),
    ],
)
async def test_a_wrong_judge_is_noticed(broken: type[Admission], test: str) -> None:
    requests = {"refused": a_request(caller=a_caller(namespace="blocked")), "passed": a_request()}

    assert await notices(AdmissionContract(), test, admission=broken(), content=b"[]", **requests)
