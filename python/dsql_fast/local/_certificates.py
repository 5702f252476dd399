"""The cluster's certificate and the private authority that signs it.

Good ones, and bad ones on purpose: a client that is worth its name must turn those away.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

_DAY = dt.timedelta(days=1)


class CertificateAuthority:
    """The private authority of one cluster: clients trust it, and it signs what the server shows."""

    def __init__(self) -> None:
        self._key, self._certificate = _authority()

    def write(self, path: Path) -> None:
        """Write the certificate that clients trust."""
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def write_server(self, path: Path, host: str, kind: str) -> None:
        """Write a new certificate of the server's and its private key.

        Args:
            path: The file; only its owner may read it.
            host: The cluster's host name.
            kind: "valid", or how it is wrong. "unknown-ca" is signed by an authority of the same
                name as the trusted one, with another key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = "wrong." + host if kind == "wrong-name" else host
        if kind == "self-signed":
            server = _certificate(name, key, _name(name), key)
        elif kind == "unknown-ca":
            other_key, other = _authority()
            server = _certificate(name, key, other.subject, other_key)
        else:
            server = _certificate(name, key, self._certificate.subject, self._key, expired=kind == "expired")
        path.touch(mode=0o600)
        path.write_bytes(
            server.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("dsql-fast local cluster CA")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _certificate(
    host: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    expired: bool = False,
) -> x509.Certificate:
    # The authority key identifier is there because strict verifiers (Python 3.13) ask for it.
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        _builder(_name(host), issuer, key.public_key(), expired=expired)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(authority, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    *,
    expired: bool = False,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # A day back, for containers whose clocks disagree.
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now - _DAY if expired else now + 365 * _DAY)
    )


def _name(common_name: str) -> x509.Name:
    # X.520 allows 64 characters in a common name; clients look at the alternative name anyway.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
