"""What the reference server's CA signs verifies, and says what was asked for."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from pytest_certload.certctl.reference.authority import Authority

NOW = datetime(2026, 11, 25, 12, 30, 15, 123456, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Load test CA", now=NOW - DAY)


def request_of(key: object, *names: str) -> x509.CertificateSigningRequest:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example.test")])
    builder = x509.CertificateSigningRequestBuilder(subject)
    if names:
        general = [x509.DNSName(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "algorithm", "size"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ECDSA", 256),
        (rsa.generate_private_key(65537, 2048), "RSA", 2048),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519", 256),
    ],
)
def test_a_certificate_verifies_and_has_the_key(
    authority: Authority, key: object, algorithm: str, size: int
) -> None:
    request = request_of(key, "a.example.test")
    issued = authority.issue(request, names=["b.example.test"], lifetime=90 * DAY, now=NOW)
    leaf, ca = x509.load_pem_x509_certificates(issued.pem_chain.encode())
    assert leaf.public_key() == request.public_key()
    assert leaf.subject == request.subject
    assert (issued.key_algorithm, issued.key_size) == (algorithm, size)
    assert issued.fingerprint == hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    assert issued.serial_number == f"{leaf.serial_number:040x}"
    assert len(issued.serial_number) == 40
    assert issued.not_before == NOW.replace(microsecond=0)
    assert issued.not_after - issued.not_before == 90 * DAY
    leaf.verify_directly_issued_by(ca)
    for name in ("a.example.test", "b.example.test"):
        verifier = (
            PolicyBuilder()
            .store(Store([ca]))
            .time(NOW + DAY)
            .build_server_verifier(x509.DNSName(name))
        )
        if algorithm != "Ed25519":  # which the web's rules do not know
            assert verifier.verify(leaf, []) == [leaf, ca]


def test_names_are_the_requests_and_the_servers_each_once(authority: Authority) -> None:
    request = request_of(ec.generate_private_key(ec.SECP256R1()), "a.example.test")
    names = ["127.0.0.1", "a.example.test"]
    issued = authority.issue(request, names=names, lifetime=DAY, now=NOW)
    leaf = x509.load_pem_x509_certificate(issued.pem_chain.encode())
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["a.example.test"]
    assert [str(ip) for ip in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_where_nobody_names_a_name_there_is_none(authority: Authority) -> None:
    request = request_of(ec.generate_private_key(ec.SECP256R1()))
    issued = authority.issue(request, lifetime=DAY, now=NOW)
    leaf, ca = x509.load_pem_x509_certificates(issued.pem_chain.encode())
    leaf.verify_directly_issued_by(ca)
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_no_two_authorities_are_the_same() -> None:
    first, second = (Authority("Load test CA", now=NOW) for _ in range(2))
    keys = {
        x509.load_pem_x509_certificate(each.pem.encode())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for each in (first, second)
    }
    assert len(keys) == 2
