"""Encryption of the way to an engine, from files."""

import ssl
from pathlib import Path
from typing import Final

from invoker.errors import SettingsError
from invoker_docker.settings import DockerSettings

_FILES: Final = ("tls_ca", "tls_cert", "tls_key")


def client_context(settings: DockerSettings) -> ssl.SSLContext | None:
    """Return how connections are encrypted, TLS 1.2 or newer; `None` if they aren't.

    Raises:
        SettingsError: a file can't be read or isn't what it should be.
    """
    if not settings.tls:
        return None
    for name in _FILES:
        _readable(name, getattr(settings, name))
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
    except ssl.SSLError as error:
        raise SettingsError([f"docker.tls_ca: {settings.tls_ca} holds no certificate in PEM format"]) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls_cert is not None:
        try:
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
        except ssl.SSLError as error:
            reason = error.reason or "it holds no such thing in PEM format"
            raise SettingsError(
                [f"docker: {settings.tls_cert} and {settings.tls_key} are no certificate with its key: {reason}"]
            ) from error
    return context


def _readable(setting: str, path: Path | None) -> None:
    """Open a file: the ssl module doesn't say which of its files it can't read."""
    try:
        if path is not None:
            path.open("rb").close()
    except OSError as error:
        raise SettingsError([f"docker.{setting}: can't read {path}: {error.strerror}"]) from error


def _no_password() -> str:
    """Fail where OpenSSL would ask on the terminal."""
    raise SettingsError(["docker.tls_key: the key is encrypted; give one that isn't, readable for the invoker alone"])
