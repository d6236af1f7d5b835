"""A certificate authority, and what it issues."""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from invoker_http.settings import TlsSettings

_FROM = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
_UNTIL = _FROM + dt.timedelta(days=2)


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files."""

    authority: Path
    server: Path
    server_key: Path
    caller: Path
    caller_key: Path
    locked_key: Path

    def settings(self, *, ask_callers: bool) -> TlsSettings:
        return TlsSettings(
            certificate=self.server, key=self.server_key, client_ca=self.authority if ask_callers else None
        )

    def client(self, *, certified: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority)
        if certified:
            context.load_cert_chain(self.caller, self.caller_key)
        return context


def issued(folder: Path) -> Certificates:
    """Write everything into a folder."""
    made = Certificates(*(folder / f"{name}.pem" for name in ("ca", "server", "server-key", "me", "me-key", "locked")))
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("Authority", authority_key, "Authority", authority_key)
    made.authority.write_bytes(authority)
    for name, certificate, key in (
        ("localhost", made.server, made.server_key),
        ("me", made.caller, made.caller_key),
    ):
        private = ec.generate_private_key(ec.SECP256R1())
        certificate.write_bytes(_certificate(name, private, "Authority", authority_key))
        key.write_bytes(_pem(private, serialization.NoEncryption()))
    made.locked_key.write_bytes(_pem(authority_key, serialization.BestAvailableEncryption(b"secret")))
    return made


def _pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> bytes:
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return signed.public_bytes(serialization.Encoding.PEM)
