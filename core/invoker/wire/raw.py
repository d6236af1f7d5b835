r"""JSON that is passed on as it came: checked once, taken apart into members, never rebuilt.

msgspec leaves the bytes of a `Raw` alone, invalid UTF-8 included, and refuses lone surrogate escapes (`"\ud800"`),
which are legal JSON. Here the first is checked, and the second are masked while msgspec reads them: 1 MB takes 1 to
20 ms in place of the 500 to 1,200 of the standard library's decoder. Nothing here repeats what it reads in an error: it
may be a secret.
"""

import json
import re
import secrets
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Final

import msgspec

_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_NO_ESCAPE: Final = re.compile(rb"\\u[dD](?![0-9a-fA-F]{3})")

_PRIVATE: Final = 0xF0000
_MARK, _BACKSLASH = (chr(_PRIVATE + secrets.randbelow(0xFFFE) + plane * 0x10000) for plane in range(2))
"""Stand for the `\\u` of an escape that may be a surrogate's, and for an escaped backslash, after which nothing is one.

Two of the 131,000 characters that mean nothing to anybody; no name may have them, and JSON that has them is refused.
"""
_PLACE: Final = re.compile(r" \(byte \d+\)$")
"""Of the masked text, which is of no use."""
_MARKED: Final = re.compile(f"{_MARK}([dD][0-9a-fA-F]{{3}})")
_MARK_BYTES, _BACKSLASH_BYTES = _MARK.encode(), _BACKSLASH.encode()


class NotJSON(ValueError):
    """Bytes are not the JSON they should be. The message says why, mostly at which byte, and repeats none of them."""


def checked(data: bytes) -> msgspec.Raw:
    """Return JSON as it is, without the white space around it.

    Raises:
        NotJSON: it is none, or isn't UTF-8, or is nested too deeply to be read.
    """
    check_utf8(data)
    try:
        return _RAW.decode(data)
    except RecursionError:
        raise NotJSON(TOO_DEEP) from None
    except msgspec.DecodeError as error:
        if not has_surrogates(data):
            raise NotJSON(reason(error)) from None
    try:
        return unmasked(_RAW.decode(masked(data)))
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotJSON(_PLACE.sub("", reason(error))) from None


def members(value: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the members of an object that was checked before, their values as they are; of two alike the last.

    Raises:
        NotJSON: it is another kind of value, or nested too deeply to be read here.
    """
    try:
        return _MEMBERS.decode(value)
    except RecursionError:
        raise NotJSON(TOO_DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        data = bytes(value)
        if not has_surrogates(data):
            raise NotJSON(reason(error)) from None
    check_utf8(data)
    try:
        return {_name(name): unmasked(part) for name, part in _MEMBERS.decode(masked(data)).items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotJSON(reason(error)) from None


def joined(parts: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    """Return the object with these members: what `members` takes apart."""
    try:
        return msgspec.Raw(msgspec.json.encode(parts))
    except UnicodeEncodeError:  # a lone surrogate in a name
        texts = (b"%s:%s" % (json.dumps(name).encode(), bytes(part)) for name, part in parts.items())
        return msgspec.Raw(b"{%s}" % b",".join(texts))


def string(value: msgspec.Raw) -> str | None:
    """Return the text of a JSON string; `None` for any other value.

    Raises:
        NotJSON: the text has lone surrogates.
    """
    if not is_string(value):
        return None
    try:
        return _TEXT.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJSON(reason(error)) from None


def is_object(value: msgspec.Raw) -> bool:
    """Return whether JSON that was checked is an object."""
    return memoryview(value)[:1].tobytes() == b"{"


def is_array(value: msgspec.Raw) -> bool:
    """Return whether JSON that was checked is an array."""
    return memoryview(value)[:1].tobytes() == b"["


def is_string(value: msgspec.Raw) -> bool:
    """Return whether JSON that was checked is a string."""
    return memoryview(value)[:1].tobytes() == b'"'


def check_utf8(data: bytes) -> None:
    """Check what msgspec doesn't look at.

    Raises:
        NotJSON: it isn't UTF-8.
    """
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise NotJSON(reason(error)) from None


def mended(data: bytes) -> bytes:
    """Return text with U+FFFD in place of whatever is not UTF-8."""
    return data if data.isascii() else data.decode(errors="replace").encode()


def has_surrogates(data: bytes) -> bool:
    """Return whether there may be escaped surrogates, which msgspec refuses unless they are paired."""
    return _SURROGATE.search(data) is not None


TOO_DEEP: Final = "JSON is nested too deeply"


def reason(error: Exception) -> str:
    """Return what is wrong according to a decoder, without any of what it read."""
    match error:
        case RecursionError():
            return TOO_DEEP
        case UnicodeDecodeError():
            return f"not UTF-8 (byte {error.start})"
        case UnicodeEncodeError():
            return "it has lone surrogates, which are no Unicode"
        case JSONDecodeError():
            return f"JSON is malformed: {error.msg} (character {error.pos})"
        case _:
            return str(error)


# --- lone surrogates -----------------------------------------------------------------------------------------------


def masked(data: bytes) -> bytes:
    """Return JSON in which no surrogate is escaped, and which is JSON if `data` is; see `unmasked`.

    Raises:
        NotJSON: an escape is none.
    """
    if _MARK_BYTES in data or _BACKSLASH_BYTES in data:
        raise NotJSON("JSON has lone surrogates beside characters for private use")
    data = data.replace(b"\\\\", _BACKSLASH_BYTES)
    if _NO_ESCAPE.search(data) is not None:
        raise NotJSON("JSON is malformed: invalid character in an escape")
    return data.replace(b"\\ud", _MARK_BYTES + b"d").replace(b"\\uD", _MARK_BYTES + b"D")


def unmasked(value: msgspec.Raw) -> msgspec.Raw:
    """Return a value, read from what `masked` gave, as it was written."""
    data = bytes(value)
    if data.isascii():
        return value
    return msgspec.Raw(data.replace(_MARK_BYTES, b"\\u").replace(_BACKSLASH_BYTES, b"\\\\"))


def _name(text: str) -> str:
    """Return a name, read from what `masked` gave, as it was meant."""
    if text.isascii():
        return text
    text = _MARKED.sub(lambda match: chr(int(match[1], 16)), text).replace(_BACKSLASH, "\\")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # puts pairs together
