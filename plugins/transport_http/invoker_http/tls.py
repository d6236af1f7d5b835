"""Who is let in at the data listener: TLS and callers' certificates, from files; basic authentication (RFC 7617)."""

import base64
import hmac
import logging
import ssl
import time
from pathlib import Path
from typing import Final

from invoker.errors import SettingsError
from invoker_http.settings import TlsSettings

logger = logging.getLogger("invoker.http")

_SCHEME: Final = b"basic "


class Credentials:
    """The one user that is let in. Keeps what that user's header says, so that nothing of a caller's is decoded."""

    def __init__(self, username: str, password: str) -> None:
        self._token = base64.b64encode(f"{username}:{password}".encode())

    def fit(self, authorization: bytes) -> bool:
        """Whether an `Authorization` header is that user's; takes as long for a near miss as for a far one."""
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        return scheme.lower() == _SCHEME and hmac.compare_digest(token.strip(), self._token)


class ServerTls:
    """How connections are encrypted: TLS 1.2 or newer, by files that are read again when they have changed.

    Raises:
        SettingsError: a file can't be read or isn't what it should be.
    """

    LOOK: Final = 2.0  # seconds between two looks at the files, when somebody comes

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        named = {"certificate": settings.certificate, "key": settings.key, "client_ca": settings.client_ca}
        self._files = {name: path for name, path in named.items() if path is not None}
        self._seen = self._marks()
        self._context = self._read()
        self._next = time.monotonic() + self.LOOK

    def context(self) -> ssl.SSLContext:
        """Return what the files say now; if they are of no use, what they said before."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + self.LOOK
            if (marks := self._marks()) != self._seen:
                self._seen = marks
                try:
                    self._context = self._read()
                    logger.info("the files of http.tls have changed: read again")
                except SettingsError as error:
                    logger.warning("the files of http.tls have changed, and the old ones stay in use: %s", error)
        return self._context

    def _marks(self) -> list[tuple[int, int, int]]:
        """Return what changes when a file is written or replaced."""
        try:
            return [(one.st_ino, one.st_mtime_ns, one.st_size) for one in map(Path.stat, self._files.values())]
        except OSError:
            return []

    def _read(self) -> ssl.SSLContext:
        certificate, key, authorities = self._settings.certificate, self._settings.key, self._settings.client_ca
        for name, path in self._files.items():
            try:  # the ssl module doesn't say which of its files it can't read
                path.open("rb").close()
            except OSError as error:
                raise SettingsError([f"http.tls.{name}: can't read {path}: {error.strerror}"]) from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(str(certificate), key, password=_no_password)
        except ssl.SSLError as error:
            reason = error.reason or "it holds no such thing in PEM format"
            fault = f"http.tls: {certificate} and {key} are no certificate with its key: {reason}"
            raise SettingsError([fault]) from error
        if authorities is not None:
            try:
                context.load_verify_locations(authorities)
            except ssl.SSLError as error:
                fault = f"http.tls.client_ca: {authorities} holds no certificate in PEM format"
                raise SettingsError([fault]) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _no_password() -> str:
    """Fail where OpenSSL would ask on the terminal."""
    raise SettingsError(["http.tls.key: the key is encrypted; give one that isn't, readable for the invoker alone"])
