"""The section `[http]`."""

from pathlib import Path
from typing import Literal

from invoker.config import Count, Seconds, Secret, Section, SettingsSection
from invoker_http.address import BindAddress


class TlsSettings(Section, frozen=True, kw_only=True):
    """Encryption of the data listener; files in PEM format."""

    certificate: Path | None = None
    """The server's certificate, with those between it and its authority."""
    key: Path | None = None
    """The certificate's private key, not encrypted."""
    client_ca: Path | None = None
    """Authorities of callers: if given, only callers with a certificate of one of them are let in."""

    def __post_init__(self) -> None:
        """Check what one field can't know."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both, or neither")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs certificate and key as well")


class HttpSettings(Section, frozen=True, kw_only=True):
    """Messages over HTTP, and what operators ask."""

    bind: str = "127.0.0.1:8080"
    """Address of the data listener, `POST /invoke`: host:port or [IPv6]:port; without a host all addresses. Whoever
    reaches it can run code: beyond loopback it needs client certificates or a password."""
    admin: str = "127.0.0.1:8081"
    """Address of the listener for operators, `/readyz` and `/metrics`; empty for none."""
    tls: TlsSettings = TlsSettings()
    username: str | None = None
    """Who may send messages, with `password`: basic authentication of the data listener."""
    password: Secret | None = None
    allow_anonymous: bool = False
    """Let the data listener go unprotected beyond loopback, because the network itself is guarded."""
    allow_anonymous_admin: bool = False
    """Let the listener for operators be beyond loopback, for the same reason: it asks nobody who they are."""
    hosts: tuple[str, ...] = ()
    """Names, besides localhost and the address's own, by which callers may ask for what listens on loopback."""
    ack_identity: Literal["both", "instance", "invoker"] = "both"
    """How acknowledgements spell who sends them: today's controllers read "instance", the Go variant's "invoker"."""
    body_timeout: Seconds = Seconds(30)
    """How long a handshake may take, a new caller's first request to come, any to arrive, and an answer to be taken."""
    keep_alive: Seconds = Seconds(120)
    """How long a connection without requests is kept; longer than callers keep theirs (90 s in Go's client)."""
    max_connections: Count | None = None
    """Of callers at the same time; by default half of the files that the process may open, and at most 10,000."""

    @property
    def operators_url(self) -> str | None:
        """See `Section`. A listener on all addresses is asked on the loopback one."""
        if not self.admin or self.admin.endswith(":0"):  # none, or a port that only the system knows
            return None
        address = BindAddress.parse(self.admin)
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
        return f"http://{BindAddress(host, address.port)}"

    def __post_init__(self) -> None:
        """Check what one field can't know."""
        for name, address in (("bind", self.bind), ("admin", self.admin or self.bind)):
            try:
                BindAddress.parse(address)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together: give both, or neither")
        if self.password is not None and not self.password.reveal():
            raise ValueError("password is empty: give one, or leave it out together with username")
        if self.username is not None and ":" in self.username:
            raise ValueError("username can't have a colon in it: basic authentication ends it there")


SECTION = SettingsSection(name="http", into=HttpSettings)
