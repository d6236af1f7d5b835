"""TLS of the data listener, from files."""

import ssl
from pathlib import Path

from invoker.errors import SettingsError
from invoker_http.settings import TlsSettings


def server_context(settings: TlsSettings) -> ssl.SSLContext | None:
    """Return how connections are encrypted, TLS 1.2 or newer; `None` if they aren't.

    Raises:
        SettingsError: a file can't be read or isn't what it should be.
    """
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _readable("certificate", settings.certificate)
    _readable("key", settings.key)
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=_no_password)
    except ssl.SSLError as error:
        reason = error.reason or "it holds no such thing in PEM format"
        raise SettingsError(
            [f"http.tls: {settings.certificate} and {settings.key} are no certificate with its key: {reason}"]
        ) from error
    if settings.client_ca is not None:
        _trust(context, settings.client_ca)
    return context


def _trust(context: ssl.SSLContext, authorities: Path) -> None:
    _readable("client_ca", authorities)
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise SettingsError([f"http.tls.client_ca: {authorities} holds no certificate in PEM format"]) from error
    context.verify_mode = ssl.CERT_REQUIRED


def _readable(setting: str, path: Path | None) -> None:
    """Open a file: the ssl module doesn't say which of its files it can't read."""
    assert path is not None  # noqa: S101 (TlsSettings has checked that)
    try:
        path.open("rb").close()
    except OSError as error:
        raise SettingsError([f"http.tls.{setting}: can't read {path}: {error.strerror}"]) from error


def _no_password() -> str:
    """Fail where OpenSSL would ask on the terminal."""
    raise SettingsError(["http.tls.key: the key is encrypted; give one that isn't, readable for the invoker alone"])
