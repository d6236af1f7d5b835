"""The suites notice stores that are wrong: each of these breaks one promise."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from invoker.entities.activation import Activation
from invoker.entities.function import Function, FunctionRef
from invoker.errors import FunctionNotFound, RecordsRefused, StoreError, StoreUnavailable
from invoker.testing.activation_reader import ActivationReaderContract
from invoker.testing.activation_store import ActivationStoreContract, document_of
from invoker.testing.function_catalog import FunctionCatalogContract
from invoker.testing.function_store import FunctionStoreContract
from invoker.testing.stores import MemoryActivations, MemoryFollowing, MemoryStore


async def notices(suite: object, test: str, **fixtures: Any) -> bool:
    try:
        await getattr(suite, test)(**fixtures)
    except (AssertionError, StoreError, ValueError, pytest.fail.Exception):
        return True
    return False


class LosesLogs(MemoryActivations):
    async def put_many(self, batch: Sequence[Activation]) -> None:
        await super().put_many([msgspec.structs.replace(activation, logs=()) for activation in batch])


class IsShyOfRepeats(MemoryActivations):
    async def put_many(self, batch: Sequence[Activation]) -> None:
        for activation in batch:
            if (activation.namespace, activation.activation_id) in self.records:
                raise StoreUnavailable("conflict")
            await super().put_many([activation])


class StopsAtRepeats(MemoryActivations):
    async def put_many(self, batch: Sequence[Activation]) -> None:
        for activation in batch:
            if (activation.namespace, activation.activation_id) in self.records:
                return
            await super().put_many([activation])


class MixesNamespaces(MemoryActivations):
    async def put_many(self, batch: Sequence[Activation]) -> None:
        known = {activation_id for _, activation_id in self.records}
        await super().put_many([activation for activation in batch if activation.activation_id not in known][:1])


class TakesAHundred(MemoryActivations):
    async def put_many(self, batch: Sequence[Activation]) -> None:
        await super().put_many(batch[:100])


class RefusesAllForOne(MemoryActivations):
    async def put_many(self, batch: Sequence[Activation]) -> None:
        large = [activation for activation in batch if len(activation.logs) > 100]
        if large:
            raise RecordsRefused({large[0].activation_id: "too large"})
        await super().put_many(batch)


class RefusesTheInnocent(MemoryActivations):
    async def put_many(self, batch: Sequence[Activation]) -> None:
        await super().put_many(batch)
        if any(len(activation.logs) > 100 for activation in batch):
            raise RecordsRefused({batch[0].activation_id: "too large"})


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (LosesLogs, "test_what_was_put_is_there"),
        (LosesLogs, "test_ten_megabytes_of_logs_are_kept_or_refused"),
        (IsShyOfRepeats, "test_a_repeated_batch_is_no_error"),
        (IsShyOfRepeats, "test_the_same_record_may_be_in_a_batch_twice"),
        (StopsAtRepeats, "test_what_is_new_in_a_repeated_batch_is_kept"),
        (MixesNamespaces, "test_one_id_in_two_namespaces_is_two_records"),
        (TakesAHundred, "test_a_large_batch_is_kept_whole"),
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
    def follow(self, namespace: str) -> MemoryFollowing:
        following = super().follow(namespace)
        following._position = 0
        return following


class FollowsEverybody(MemoryActivations):
    def follow(self, namespace: str) -> MemoryFollowing:
        class Anybody(str):
            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                return True

            __hash__ = str.__hash__

        return super().follow(Anybody(namespace))


@pytest.mark.parametrize(
    ("broken", "test"),
    [
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
    assert await notices(ActivationReaderContract(), test, records=broken())


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


class FoldsCase(MemoryStore):
    async def put(self, function: Function) -> str:
        return await super().put(msgspec.structs.replace(function, name=function.name.lower()))

    async def fetch(self, ref: FunctionRef, *, exact: bool) -> Function:
        return await super().fetch(msgspec.structs.replace(ref, name=ref.name.lower()), exact=exact)


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (LosesCode, "test_what_was_put_is_fetched_with_its_code"),
        (LosesCode, "test_an_archive_of_two_megabytes_is_kept"),
        (CleansText, "test_text_is_kept_as_it_is"),
        (CleansText, "test_an_image_of_a_user_needs_no_code"),
        (FoldsCase, "test_names_of_every_legal_kind_are_told_apart"),
        (IsAlwaysExact, "test_without_exact_the_newest_revision_will_do"),
        (LosesCode, "test_exact_without_a_revision_is_the_newest"),
        (IgnoresExact, "test_exact_never_gives_another_revision"),
        (IgnoresExact, "test_a_revision_that_never_was_is_not_found"),
        (LosesCode, "test_many_may_ask_at_once"),
    ],
)
async def test_a_wrong_function_store_is_noticed(broken: type[MemoryStore], test: str) -> None:
    store = broken()

    assert await notices(FunctionStoreContract(), test, store=store, put=store.put)


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


class HasOneRevision(MemoryStore):
    async def put(self, function: Function) -> str:
        self._numbers.clear()
        return await super().put(function)


@pytest.mark.parametrize(
    ("broken", "test"),
    [
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
    assert await notices(FunctionCatalogContract(), test, catalog=broken())
