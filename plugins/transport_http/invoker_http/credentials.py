"""Basic authentication (RFC 7617)."""

import base64
import hmac
from typing import Final, Self

from invoker_http.settings import HttpSettings

CHALLENGE: Final = 'Basic realm="invoker", charset="UTF-8"'
"""The `WWW-Authenticate` header that asks for it."""

_SCHEME: Final = b"basic "


class Credentials:
    """The one user that is let in. Keeps what that user's header says, so that nothing of a caller's is decoded."""

    def __init__(self, username: str, password: str) -> None:
        self._token = base64.b64encode(f"{username}:{password}".encode())

    @classmethod
    def of(cls, settings: HttpSettings) -> Self | None:
        """Return what the settings ask for, if anything."""
        if settings.username is None or settings.password is None:
            return None
        return cls(settings.username, settings.password.reveal())

    def fit(self, authorization: bytes) -> bool:
        """Whether an `Authorization` header is that user's; takes as long for a near miss as for a far one."""
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        return scheme.lower() == _SCHEME and hmac.compare_digest(token.strip(), self._token)
