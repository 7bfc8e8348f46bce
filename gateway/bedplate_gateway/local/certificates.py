"""Certificates of our own making, for clients that insist on TLS (AWS SDKs send a bearer key over nothing else).

One authority an installation, whose certificate clients are told to trust, and one certificate for the gateway, made
anew when it is about to end or lacks a name. Not for the public internet: there, use a certificate that clients trust
already.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bedplate_gateway.local.errors import LaunchError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
AUTHORITY_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)
"""The longest that browsers accept."""
RENEW_BEFORE = timedelta(days=30)
_BACKDATED = timedelta(hours=1)
"""For clients whose clock is behind."""


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """The files in one folder, whether they are there yet or not. The keys are readable by their owner only."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that clients trust (PEM)."""
        return self.folder / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """The authority's key (PEM). Whoever has it can stand in for any server to those who trust the authority."""
        return self.folder / "ca.key"

    @property
    def server(self) -> Path:
        """The gateway's certificate (PEM)."""
        return self.folder / "server.pem"

    @property
    def server_key(self) -> Path:
        """The gateway's key (PEM)."""
        return self.folder / "server.key"


def ensure_certificates(folder: Path, names: Sequence[str] = (), *, now: datetime | None = None) -> Certificates:
    """Make what is missing in `folder`, or about to end. `names` are host names and addresses besides `LOCAL_NAMES`.

    Names that the gateway's certificate has already are kept. Raises `LaunchError` when the folder cannot be used or a
    name is none.
    """
    files = Certificates(folder=folder)
    at = now or datetime.now(UTC)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, key = _authority(files, at)
        wanted = [_general_name(name) for name in dict.fromkeys((*LOCAL_NAMES, *names))]
        present = _server_names(files, authority, at)
        if present is None or not set(wanted) <= set(present):
            every = list(dict.fromkeys((*wanted, *(present or ()))))
            _make_server(files, authority, key, every, at)
    except (OSError, ValueError) as error:
        raise LaunchError(
            f"the certificates in {folder} cannot be used: {error}", "Remove that folder to have them made anew."
        ) from error
    return files


def _authority(files: Certificates, at: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if files.authority.exists() and files.authority_key.exists():
        certificate = x509.load_pem_x509_certificate(files.authority.read_bytes())
        if certificate.not_valid_after_utc - at > RENEW_BEFORE:
            return certificate, _read_key(files.authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("Bedplate local authority")
    certificate = (
        _builder(name, name, key.public_key(), at, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(files.authority_key, _key_pem(key), mode=0o600)
    _write(files.authority, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return certificate, key


def _server_names(files: Certificates, authority: x509.Certificate, at: datetime) -> list[x509.GeneralName] | None:
    """The names in the gateway's certificate; None when a new one is needed: it ends soon, or the authority is new."""
    if not files.server.exists() or not files.server_key.exists():
        return None
    certificate = x509.load_pem_x509_certificate(files.server.read_bytes())
    authority_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    issuer_id = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    if certificate.not_valid_after_utc - at <= RENEW_BEFORE or issuer_id != authority_id:
        return None
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _make_server(
    files: Certificates,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    at: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(_subject("Bedplate"), authority.subject, key.public_key(), at, SERVER_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write(files.server_key, _key_pem(key), mode=0o600)
    _write(files.server, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, at: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _BACKDATED)
        .not_valid_after(at + lifetime)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is no elliptic-curve key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Replace a file whole; it never exists with wider permissions than `mode`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


__all__ = ["LOCAL_NAMES", "Certificates", "ensure_certificates"]
