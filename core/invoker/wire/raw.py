r"""JSON that is passed on as it came: checked once, taken apart into members, never rebuilt.

msgspec leaves the bytes of a `Raw` alone, invalid UTF-8 included, and refuses lone surrogate escapes (`"\ud800"`),
which are legal JSON. Here the first is checked and the second takes a slower way through the standard library.
Nothing here repeats what it reads in an error: it may be a secret.
"""

import json
import re
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Final, NoReturn

import msgspec

_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACE: Final = " \t\n\r"
_SPACES: Final = re.compile(rf"[{_SPACE}]*")


class NotJSON(ValueError):
    """Bytes are not the JSON they should be. The message says why and at which byte, and repeats none of them."""


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
    text = data.decode()
    end = _space(text, _end(text, _space(text, 0)))
    if end < len(text):
        raise NotJSON("JSON is malformed: trailing characters")
    return msgspec.Raw(text.strip(_SPACE).encode())


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
        if not has_surrogates(data) or not data.lstrip().startswith(b"{"):
            raise NotJSON(reason(error)) from None
        check_utf8(data)
        return {name: msgspec.Raw(part.encode()) for name, part in _slices(data.decode()).items()}


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


# --- the slow way, for lone surrogates ---------------------------------------------------------------------------


def _refuse(_: str) -> NoReturn:
    raise NotJSON("JSON is malformed: NaN and Infinity are no numbers")


# Numbers stay text: they are only passed over, and Python refuses integers of more than 4300 digits.
_LENIENT: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def _slices(text: str) -> dict[str, str]:
    """Return the text of each member of an object."""
    found: dict[str, str] = {}
    at = _space(text, text.index("{") + 1)
    while text[at] != "}":
        name_end = _end(text, at)
        name = json.loads(text[at:name_end])
        start = _space(text, _space(text, name_end) + 1)
        end = _end(text, start)
        found[name] = text[start:end]
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)
    return found


def _end(text: str, start: int) -> int:
    """Return where the value that begins at `start` ends."""
    try:
        return _LENIENT.raw_decode(text, start)[1]
    except (JSONDecodeError, RecursionError) as error:
        raise NotJSON(reason(error)) from None


def _space(text: str, start: int) -> int:
    """Return where the white space that may begin at `start` ends."""
    match = _SPACES.match(text, start)
    assert match is not None  # noqa: S101 (matches the empty string)
    return match.end()
