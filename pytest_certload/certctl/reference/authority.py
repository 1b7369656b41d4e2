"""Who signs the server's certificates? A local CA, as certctl's: RSA-2048, made at every start."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Issued", "kind_of_key"]

_KEY_BITS = 2048
_SERIAL_BITS = 159
_TEN_YEARS = timedelta(days=3652)
_TLS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_SIGNS_CERTIFICATES = x509.KeyUsage(
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


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate that was just signed, as ``certificate_versions`` stores one.

    Attributes:
        serial_number: 40 digits in hex, padded with zeros.
        not_before, not_after: Its validity, in whole seconds.
        fingerprint: SHA-256 of its DER, in hex.
        pem_chain: The leaf, then the CA.
        key_algorithm: ``RSA``, ``ECDSA`` or ``Ed25519``.
        key_size: Of its public key, in bits.
    """

    serial_number: str
    not_before: datetime
    not_after: datetime
    fingerprint: str
    pem_chain: str
    key_algorithm: str
    key_size: int


class Authority:
    """A CA whose key lives in memory only; made before the workers are forked, it is one for all.

    Args:
        common_name: Of its own certificate.
        now: Start of its validity, which is ten years.
    """

    def __init__(self, common_name: str, *, now: datetime) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        public = self._key.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        self._issuer_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            identifier
        )
        certificate = (
            x509.CertificateBuilder(self._name, self._name, public)
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + _TEN_YEARS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        #: Its own certificate, PEM.
        self.pem = certificate.public_bytes(Encoding.PEM).decode()

    def issue(
        self,
        request: x509.CertificateSigningRequest,
        *,
        names: Collection[str] = (),
        lifetime: timedelta,
        now: datetime,
    ) -> Issued:
        """Sign what a request asks for: its subject, its key, its names and those given here.

        Args:
            request: Its signature is the caller's to check.
            names: DNS names and IP addresses beside the request's own.
            lifetime: How long the certificate holds.
            now: From when on.

        Raises:
            ValueError: The request's extensions or the names are none.
        """
        key = request.public_key()
        algorithm, size = kind_of_key(key)
        start = now.replace(microsecond=0)
        names_of_it = _alternatives(request, names)
        builder = (
            x509.CertificateBuilder(self._name, request.subject, key)
            .serial_number(secrets.randbits(_SERIAL_BITS) or 1)
            .not_valid_before(start)
            .not_valid_after(start + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_TLS, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(self._issuer_key, critical=False)
        )
        if names_of_it is not None:
            builder = builder.add_extension(names_of_it, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(
            serial_number=f"{certificate.serial_number:040x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            pem_chain=certificate.public_bytes(Encoding.PEM).decode() + self.pem,
            key_algorithm=algorithm,
            key_size=size,
        )


def kind_of_key(key: object) -> tuple[str, int]:
    """Algorithm of a public key, as certctl calls it, and its size in bits.

    Raises:
        ValueError: It is of no kind that is signed.
    """
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ECDSA", key.key_size
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519", 256
    raise ValueError(f"a key of the kind {type(key).__name__} is not signed")


def _alternatives(
    request: x509.CertificateSigningRequest, names: Collection[str]
) -> x509.SubjectAlternativeName | None:
    """The names of a certificate; None: nobody names one, and then it has none."""
    try:
        asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        general: list[x509.GeneralName] = []
    else:
        general = list(asked)
    general += [name for name in map(_general_name, names) if name not in general]
    return x509.SubjectAlternativeName(list(dict.fromkeys(general))) if general else None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
