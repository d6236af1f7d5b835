"""The `user` of a message: subject, namespace, key and limits (spec 1.5)."""

import json
from typing import Any

import pytest

from invoker.entities.request import CallerLimits
from invoker.wire import caller
from invoker.wire.request import parse
from tests.core.wire.examples import ABSENT, SECRET, changed, fault
from tests.specification import BLOCKING


def test_spec_1_5_2_the_authkey_is_opaque() -> None:
    """T18: several fields, of any kind, pass as they are."""
    key = '{"api_key" : "u:k", "token":{"n":[1.10]}, "é":null}'

    body = BLOCKING.replace(BLOCKING[BLOCKING.index(b'{"api_key"') : BLOCKING.index(b',\n  "rights"')], key.encode())

    assert bytes(parse(body).caller.authkey).decode() == key


def test_an_authkey_that_is_absent_is_empty() -> None:
    assert bytes(parse(changed(user__authkey=ABSENT)).caller.authkey) == b"{}"


@pytest.mark.parametrize("key", [None, [], SECRET, 7])
def test_an_authkey_that_is_no_object_is_refused(key: Any) -> None:
    text = fault(changed(user__authkey=key))

    assert "user.authkey" in text
    assert SECRET not in text


def test_spec_1_5_3_all_limits_that_matter_here_are_read() -> None:
    limits = {
        "storeActivations": False,
        "minActionMemory": 1,
        "maxActionMemory": 2,
        "minActionLogs": 3,
        "maxActionLogs": 4,
        "minActionTimeout": 5,
        "maxActionTimeout": 6,
        "minActionConcurrency": 7,
        "maxActionConcurrency": 8,
        "maxPayloadSize": " 10 kb ",
        "truncationSize": "11 B",
        "maxParameterSize": "12 GB",
        "invocationsPerMinute": 0,
        "allowedKinds": ["nodejs:20"],
        "warmedContainerKeepingTimeout": "10 minutes",
        "maxTimeout": "not an upstream name (1.10.3)",
    }

    assert parse(changed(user__limits=limits)).caller.limits == CallerLimits(
        store_activations=False,
        min_memory=1,
        max_memory=2,
        min_logs=3,
        max_logs=4,
        min_timeout=5,
        max_timeout=6,
        min_concurrency=7,
        max_concurrency=8,
        max_payload=10 << 10,
        truncation=11,
    )


@pytest.mark.parametrize("limits", [ABSENT, None, {}, {"storeActivations": None, "maxActionMemory": None}])
def test_limits_that_say_nothing_leave_the_systems(limits: Any) -> None:
    assert parse(changed(user__limits=limits)).caller.limits == CallerLimits()


@pytest.mark.parametrize(
    "limits",
    [
        {"maxActionMemory": "512 MB"},
        {"maxActionMemory": 1.5},
        {"maxActionMemory": 1 << 63},
        {"storeActivations": "no"},
        {"maxPayloadSize": 1048576},
        {"maxPayloadSize": "1.5 MB"},
        {"maxPayloadSize": "-1 B"},
        {"truncationSize": "much"},
        [],
    ],
)
def test_malformed_limits_are_refused(limits: Any) -> None:
    assert "user.limits" in fault(changed(user__limits=limits))


def test_a_subject_has_five_characters_or_more() -> None:
    assert parse(changed(user__subject="guest")).caller.subject == "guest"
    assert "user.subject" in fault(changed(user__subject="zoe!"))


def test_spec_1_10_2_annotations_of_the_namespace_are_kept() -> None:
    annotations = [{"key": "team", "value": {"n": 1}}]

    kept = parse(changed(user__namespace__annotations=annotations)).caller.annotations

    assert kept is not None
    assert json.loads(bytes(kept)) == annotations


@pytest.mark.parametrize("annotations", [ABSENT, None, {}, "x"])
def test_what_is_no_list_of_annotations_is_none(annotations: Any) -> None:
    body = BLOCKING if annotations is ABSENT else changed(user__namespace__annotations=annotations)

    assert parse(body).caller.annotations is None


def test_the_namespaces_uuid_may_be_absent() -> None:
    assert parse(changed(user__namespace__uuid=ABSENT)).caller.namespace_uuid == ""


def test_what_strangers_send_in_megabytes_is_not_remembered() -> None:
    """300 messages with a `user` of 1 MB grew the resident memory by 289 MB."""
    user = b'{"subject":"guest-subject","namespace":{"name":"guest"},"authkey":{"x":"%b"}}'

    before = caller._remembered.cache_info().misses
    for size in (5_000, 1 << 20):
        assert caller.read(user % (b"x" * size)).namespace == "guest"
    large = caller._remembered.cache_info().misses
    caller.read(user % b"of a size that nobody else has")

    assert large == before
    assert caller._remembered.cache_info().misses == before + 1
