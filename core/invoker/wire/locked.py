"""Locked parameters: arguments that a controller sends encrypted, opened just before they are used (spec 7)."""

import base64
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from invoker.config import Secret
from invoker.errors import SettingsError, Undecryptable
from invoker.wire import raw

Unknown: TypeAlias = Literal["pass", "refuse"]

_UNENCRYPTED: Final = frozenset({"", "noop", "off"})
"""Scheme names, in any case, that stand for no encryption (spec 7.1.1)."""

_KEY_SIZES: Final = (16, 32)
_NONCE_SIZES: Final = (12, 128)
"""Upstream's with a key of 128 and of 256 bits; the Go variant uses 128 bytes with every key (spec T39, 7.4.5)."""
_LENGTH_SIZE: Final = 4
_TAG_SIZE: Final = 16


class Keys:
    """The keys by name: upstream's scheme names, or whatever the operator chose (spec T42)."""

    def __init__(self, keys: Mapping[str, Secret], *, unknown: Unknown) -> None:
        """Take the keys: base64 of 16 or 32 bytes.

        `unknown` says what becomes of a parameter whose key isn't here: `pass` hands it on encrypted as it is, as
        upstream does (spec 7.1.7), `refuse` makes it an error, as the Go variant does (spec 7.4.3).

        Raises:
            SettingsError: some are no keys; names them all, shows none.
        """
        self._unknown = unknown
        self._ciphers: dict[str, AESGCM] = {}
        faults: list[str] = []
        for name, secret in keys.items():
            try:
                self._ciphers[name] = _cipher(name, secret.reveal())
            except ValueError as error:
                faults.append(f"encryption.keys.{name}: {error}")
        if faults:
            raise SettingsError(faults)

    def open(self, content: msgspec.Raw, locked: Mapping[str, str]) -> msgspec.Raw:
        """Return the arguments with what `locked` names decrypted; all other values stay as they are, and in order.

        Arrays, and values that are no strings, are never encrypted (spec 7.2.1, T41).

        Raises:
            Undecryptable: one can't be opened.
        """
        if not locked or not raw.is_object(content):
            return content
        try:
            arguments = raw.members(content)
        except raw.NotJSON as error:
            raise Undecryptable(next(iter(locked)), str(error)) from None
        opened = {
            name: self._open(name, scheme, arguments[name])
            for name, scheme in locked.items()
            if name in arguments and raw.is_string(arguments[name])
        }
        return raw.joined(arguments | opened)

    def _open(self, name: str, scheme: str, value: msgspec.Raw) -> msgspec.Raw:
        if scheme.lower() in _UNENCRYPTED:
            return value
        cipher = self._ciphers.get(scheme)
        if cipher is None:
            if self._unknown == "pass":
                return value
            raise Undecryptable(name, "there is no key of the name it was encrypted with")
        try:
            return raw.checked(_decrypted(cipher, value))  # JSON, quotes included (spec T40)
        except raw.NotJSON:
            raise Undecryptable(name, "what was encrypted is not JSON") from None
        except ValueError as error:
            raise Undecryptable(name, str(error)) from None


def _cipher(name: str, text: str) -> AESGCM:
    if name.lower() in _UNENCRYPTED:
        raise ValueError("this name stands for no encryption; a key of this name is never used")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:  # also what is not ASCII
        raise ValueError("expected base64 of 16 or 32 bytes") from None
    if len(key) not in _KEY_SIZES:
        raise ValueError(f"expected base64 of 16 or 32 bytes, got {len(key)} bytes")
    return AESGCM(key)


def _decrypted(cipher: AESGCM, value: msgspec.Raw) -> bytes:
    """Open an envelope: base64 of the nonce's length, the nonce, the ciphertext and its tag (spec 7.1.3).

    Raises:
        ValueError: the reason, without any of the value.
    """
    try:
        envelope = base64.b64decode(raw.string(value) or "", validate=True)
    except ValueError:
        raise ValueError("it is not base64") from None
    start = _LENGTH_SIZE + int.from_bytes(envelope[:_LENGTH_SIZE])
    if start - _LENGTH_SIZE not in _NONCE_SIZES or len(envelope) < start + _TAG_SIZE:
        raise ValueError("it is no encrypted parameter")
    try:
        return cipher.decrypt(envelope[_LENGTH_SIZE:start], envelope[start:], None)
    except InvalidTag:
        raise ValueError("it was encrypted with another key, or damaged since") from None
