"""Locked parameters: the vectors of spec 7.3, real messages, and everything that can't be opened."""

import base64
import json
import os
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from invoker.config import Secret
from invoker.errors import SettingsError, Undecryptable
from invoker.wire.locked import Keys
from invoker.wire.request import parse
from tests.captures.reading import messages
from tests.core.wire.examples import raw
from tests.specification import KEY_128, KEY_256, SEALED_128, SEALED_256

KEYS = {"aes-128": Secret(KEY_128), "aes-256": Secret(KEY_256)}


def seal(plain: bytes, *, key: str = KEY_128, nonce: int = 12) -> str:
    """Return an envelope as controllers write them (spec 7.1.3)."""
    salt = os.urandom(nonce)
    return base64.b64encode(
        nonce.to_bytes(4) + salt + AESGCM(base64.b64decode(key)).encrypt(salt, plain, None)
    ).decode()


def opened(content: Any, locked: dict[str, str], *, keys: Keys | None = None) -> Any:
    keys = keys or Keys(KEYS, unknown="refuse")
    return json.loads(bytes(keys.open(raw(json.dumps(content)), locked)))


def refusal(value: Any, scheme: str = "aes-128") -> Undecryptable:
    with pytest.raises(Undecryptable) as caught:
        opened({"other": 1, "token": value}, {"token": scheme})
    assert caught.value.parameter == "token"
    assert caught.value.__cause__ is None
    return caught.value


# --- what opens --------------------------------------------------------------------------------------------------


def test_spec_7_3_the_vector_with_a_key_of_128_bits() -> None:
    assert opened({"token": SEALED_128}, {"token": "aes-128"}) == {"token": "s3cr3t"}


def test_spec_7_3_the_vector_with_a_key_of_256_bits() -> None:
    """T39: its nonce has 128 bytes."""
    assert opened({"obj": SEALED_256}, {"obj": "aes-256"}) == {"obj": {"n": 1}}


@pytest.mark.parametrize("body", [body for body in messages("invoker0") if json.loads(body)["lockedArgs"]])
def test_real_messages_open_to_what_upstreams_invoker_saw(body: bytes) -> None:
    request = parse(body)
    [result] = [
        json.loads(answer)["response"]["response"]["result"]
        for topic in ("completed0", "completed1")
        for answer in messages(topic)
        if request.activation_id in answer.decode() and "response" in json.loads(answer)
    ]

    content = Keys(KEYS, unknown="refuse").open(request.content or raw("{}"), request.locked)

    assert list(json.loads(bytes(content))) == ["token", "obj", "over", "EI"]
    assert json.loads(bytes(content)) == {**result["a"], "EI": result["e"]}


def test_there_are_real_messages_with_locked_parameters() -> None:
    assert len([body for body in messages("invoker0") if json.loads(body)["lockedArgs"]]) == 2


@pytest.mark.parametrize("key", [KEY_128, KEY_256])
@pytest.mark.parametrize("nonce", [12, 128])
def test_spec_7_4_5_any_key_opens_either_length_of_nonce(key: str, nonce: int) -> None:
    keys = Keys({"key-2026": Secret(key)}, unknown="refuse")  # T42: names are free

    content = {"token": seal(b'"x"', key=key, nonce=nonce)}

    assert opened(content, {"token": "key-2026"}, keys=keys) == {"token": "x"}


def test_several_keys_of_one_size_may_be_in_use() -> None:
    newer = base64.b64encode(bytes(32)).decode()
    keys = Keys({"aes-256": Secret(KEY_256), "key-2026": Secret(newer)}, unknown="refuse")

    content = {"a": seal(b"1", key=KEY_256, nonce=128), "b": seal(b"2", key=newer, nonce=128)}

    assert opened(content, {"a": "aes-256", "b": "key-2026"}, keys=keys) == {"a": 1, "b": 2}


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_t40_what_was_locked_is_any_json(value: Any) -> None:
    content = {"token": seal(json.dumps(value).encode())}

    assert opened(content, {"token": "aes-128"}) == {"token": value}


def test_other_values_stay_as_they_are_and_in_order() -> None:
    content = raw(f'{{"b":1.10, "token":"{SEALED_128}", "a" : {{ "x" : [ 1e400, "\\u00e9" ] }} }}')

    result = Keys(KEYS, unknown="refuse").open(content, {"token": "aes-128"})

    assert bytes(result) == b'{"b":1.10,"token":"s3cr3t","a":{ "x" : [ 1e400, "\\u00e9" ] }}'


def test_lone_surrogates_beside_a_locked_parameter_are_kept() -> None:
    content = raw(f'{{"\\ud800":"\\udfff","token":"{SEALED_128}"}}')

    result = Keys(KEYS, unknown="refuse").open(content, {"token": "aes-128"})

    assert bytes(result) == b'{"\\ud800":"\\udfff","token":"s3cr3t"}'


def test_a_lone_surrogate_that_was_locked_is_kept() -> None:
    assert opened({"token": seal(b'"\\ud800"')}, {"token": "aes-128"}) == {"token": "\ud800"}


# --- what is left alone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [7, None, True, [SEALED_128], {"token": SEALED_128}])
def test_spec_7_2_1_values_that_are_no_strings_are_left_alone(value: Any) -> None:
    assert opened({"token": value}, {"token": "aes-128"}) == {"token": value}


@pytest.mark.parametrize("text", [f'["{SEALED_128}"]', '{ "token" : "x" }'])
def test_spec_7_2_1_content_without_locked_parameters_is_handed_back(text: str) -> None:
    content = raw(text)

    locked = {"token": "aes-128"} if text.startswith("[") else {}

    assert Keys(KEYS, unknown="refuse").open(content, locked) is content


def test_t41_locked_names_that_are_not_there_are_no_error() -> None:
    assert opened({"over": "payload"}, {"token": "aes-128"}) == {"over": "payload"}


@pytest.mark.parametrize("scheme", ["noop", "NoOp", "off", "OFF", ""])
@pytest.mark.parametrize("unknown", ["pass", "refuse"])
def test_spec_7_1_1_no_encryption_has_three_names(scheme: str, unknown: Any) -> None:
    keys = Keys({}, unknown=unknown)

    assert opened({"token": "plain text"}, {"token": scheme}, keys=keys) == {"token": "plain text"}


def test_spec_7_1_7_a_key_that_is_not_there_hands_on_the_ciphertext() -> None:
    keys = Keys({"aes-256": Secret(KEY_256)}, unknown="pass")

    assert opened({"token": SEALED_128}, {"token": "aes-128"}, keys=keys) == {"token": SEALED_128}


# --- what can't be opened ----------------------------------------------------------------------------------------


def test_spec_7_4_3_a_key_that_is_not_there_may_be_an_error() -> None:
    assert "no key of the name" in refusal(SEALED_128, "key-2026").reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("hush, hush", "not base64"),
        (SEALED_128[:-1], "not base64"),
        ("\u00e9" * 4, "not base64"),
        (SEALED_128 + "\n", "not base64"),
        ("", "no encrypted parameter"),
        ("AAAA", "no encrypted parameter"),
        (base64.b64encode(bytes([0, 0, 0, 12]) + bytes(27)).decode(), "no encrypted parameter"),
        (seal(b"1", nonce=16), "no encrypted parameter"),
        (base64.b64encode(b"\xff" * 200).decode(), "no encrypted parameter"),
        (SEALED_256, "another key"),
        (seal(b'"x"', key=base64.b64encode(bytes(16)).decode()), "another key"),
        (seal(b""), "not JSON"),
        (seal(b"bare words"), "not JSON"),
        (seal(b'"\xff"'), "not JSON"),
        (seal(b"1 2"), "not JSON"),
        (seal(b"NaN"), "not JSON"),
        (seal(b"[" * 100_000), "not JSON"),
        ("\ud800", "not base64"),
    ],
    ids=[str(number) for number in range(18)],  # not by value, which is another each time
)
def test_what_is_no_envelope_of_that_key_says_why(value: str, reason: str) -> None:
    error = refusal(value)

    assert reason in error.reason
    assert not value or value not in str(error)


@given(st.integers(0, len(base64.b64decode(SEALED_128)) - 1), st.integers(1, 255))
def test_an_envelope_that_was_tampered_with_is_refused(place: int, flip: int) -> None:
    envelope = bytearray(base64.b64decode(SEALED_128))
    envelope[place] ^= flip

    refusal(base64.b64encode(envelope).decode())


def test_arguments_that_are_nested_too_deeply_are_refused() -> None:
    content = msgspec.Raw(b'{"token":' + b"[" * 100_000 + b"]" * 100_000 + b"}")

    with pytest.raises(Undecryptable, match="too deeply"):
        Keys(KEYS, unknown="refuse").open(content, {"token": "aes-128"})


# --- keys --------------------------------------------------------------------------------------------------------


def test_white_space_around_a_key_is_no_part_of_it() -> None:
    keys = Keys({"aes-128": Secret(f" {KEY_128}\n")}, unknown="refuse")

    assert opened({"token": SEALED_128}, {"token": "aes-128"}, keys=keys) == {"token": "s3cr3t"}


def test_all_keys_that_are_none_are_named_and_none_is_shown() -> None:
    wrong = {
        "words": "correct horse battery staple",
        "accents": "\u00e9" * 16,
        "empty": "",
        "short": base64.b64encode(bytes(15)).decode(),
        "of-192-bits": base64.b64encode(bytes(24)).decode(),
        "Off": KEY_128,
    }

    with pytest.raises(SettingsError) as caught:
        Keys({"aes-128": Secret(KEY_128), **{name: Secret(text) for name, text in wrong.items()}}, unknown="pass")

    assert caught.value.faults == (
        "encryption.keys.words: expected base64 of 16 or 32 bytes",
        "encryption.keys.accents: expected base64 of 16 or 32 bytes",
        "encryption.keys.empty: expected base64 of 16 or 32 bytes, got 0 bytes",
        "encryption.keys.short: expected base64 of 16 or 32 bytes, got 15 bytes",
        "encryption.keys.of-192-bits: expected base64 of 16 or 32 bytes, got 24 bytes",
        "encryption.keys.Off: this name stands for no encryption; a key of this name is never used",
    )
    assert not any(text in str(caught.value) for text in wrong.values() if text)
