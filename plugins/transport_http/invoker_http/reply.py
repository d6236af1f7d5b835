"""Replies that are whole from the start: refusals, and those of `/ping`."""

from http import HTTPStatus
from typing import Final

import msgspec

JSON: Final = "application/json"


class Reply(msgspec.Struct, frozen=True):
    """A status and a short body."""

    status: HTTPStatus
    body: bytes
    content_type: str = JSON
    headers: tuple[str, ...] = ()
    """Further header lines."""
    closes: bool = False
    """Whether the connection ends with it, however the caller would have it."""

    def encoded(self, *, keep_alive: bool, bodyless: bool = False) -> bytes:
        """Return its bytes; `bodyless` for those who asked with HEAD."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *self.headers,
        ]
        if not keep_alive:
            lines.append("Connection: close")
        return "\r\n".join((*lines, "\r\n")).encode("ascii") + (b"" if bodyless else self.body)


def error(status: HTTPStatus, text: str, *headers: str, closes: bool = False) -> Reply:
    """Return a refusal that says why, as `{"error": …}`."""
    return Reply(status, msgspec.json.encode({"error": text}), JSON, headers, closes)
