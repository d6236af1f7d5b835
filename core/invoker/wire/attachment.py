"""Where the code of an action is: in its document, in the name of an attachment, or in an attachment (spec 6.3, 6.5).

As `/init` takes it, code is text, or standard base64 where it is binary.
"""

import base64
from typing import Final, Self

import msgspec

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_GROUP: Final = 4
_BLANK: Final = "".join(map(chr, range(0x21)))
"""What Java's `trim` removes."""

_INLINE: Final = "mem"
_URL_SAFE: Final = str.maketrans("-_+/", "+/!!")  # to the standard alphabet, whose own two are in none of its texts


class Attachment(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"id": "attachmentName", "type": "attachmentType"}
):
    """What a document has in place of code that its store keeps beside it, or that the attachment's own name holds."""

    id: str
    """Scheme, colon and name; legacy ones, which CouchDB has as they are, have no scheme."""
    type: str
    """Its media type."""
    length: int | None = None
    """Bytes."""
    digest: str | None = None
    """The algorithm's name, a hyphen, the value, as who wrote it has it."""

    @classmethod
    def inline(cls, code: str, *, binary: bool) -> Self:
        """Return one whose name holds the code; unlike text in the document, it keeps the flag beside it (T27).

        Raises:
            ValueError: it should be binary and is no base64.
        """
        try:
            data = base64.b64decode(code, validate=True) if binary else code.encode()
        except ValueError:
            raise ValueError("exec.code should be binary and is no base64") from None
        name = f"{_INLINE}:{base64.urlsafe_b64encode(data).decode()}"
        return cls(name, "application/octet-stream" if binary else "text/plain; charset=UTF-8", len(data))

    @property
    def scheme(self) -> str:
        """Who has it, such as `couch`; empty for legacy names."""
        scheme, colon, _ = self.id.partition(":")
        return scheme if colon else ""

    @property
    def name(self) -> str:
        """What its store knows it by."""
        return self.id.partition(":")[2] if self.scheme else self.id

    @property
    def is_inline(self) -> bool:
        """Whether its name holds the code."""
        return self.scheme == _INLINE

    def contents(self) -> bytes:
        """Return what the name of an inline one holds; `mem:` and `mem://` are empty (spec T28, T29).

        Raises:
            ValueError: it is no URL-safe base64.
        """
        if self.name == "//":
            return b""
        try:
            return base64.b64decode(self.name.translate(_URL_SAFE), validate=True)
        except ValueError:
            raise ValueError("exec.code has an inline attachment that is no URL-safe base64") from None


def code_text(data: bytes, *, binary: bool) -> str:
    """Return code as `/init` takes it (spec 6.5.3); what is not UTF-8 in a text becomes U+FFFD."""
    return base64.b64encode(data).decode() if binary else data.decode(errors="replace")


def binary_code(text: str) -> bool:
    """Return whether code in a document is base64, going by the text alone (spec 6.3.5, T27)."""
    trimmed = text.strip(_BLANK)
    if not trimmed or len(trimmed) % _GROUP or not trimmed.isascii():
        return False
    body = trimmed.encode().removesuffix(b"=").removesuffix(b"=")
    return not body.translate(None, _ALPHABET)
