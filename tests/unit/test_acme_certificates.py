"""Whether a certificate is the one that was asked for: each way of being another one is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pytest_certload.acme.certificates import Issued, Trust, fingerprint, leaf_of
from pytest_certload.acme.enrolments import Enrolment, Enrolments, new_enrolment, public_der
from pytest_certload.certctl.reference.authority import Authority

NOW = datetime.now(UTC)
BEGAN = NOW - timedelta(days=2)
NAMES = ("a.example.test", "b.example.test")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("CA of the test", now=BEGAN)


def issue(authority: Authority, enrolment: Enrolment, *more: str, days: int = 90) -> bytes:
    """A certificate from two days ago."""
    request = x509.load_der_x509_csr(enrolment.csr)
    issued = authority.issue(request, names=more, lifetime=timedelta(days=days), now=BEGAN)
    return issued.pem_chain.encode()


def test_the_right_one(authority: Authority) -> None:
    enrolment = new_enrolment(NAMES)
    chain = issue(authority, enrolment)
    assert Trust(authority.pem.encode()).fault(chain, enrolment) is None
    assert Trust.first_seen(chain).fault(chain, enrolment) is None


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda a, e: issue(a, new_enrolment(NAMES)), "the certificate is for another key"),
        (lambda a, e: issue(a, e, "c.example.test"), "the certificate has other names"),
        (lambda a, e: issue(a, new_enrolment(NAMES[:1])), "the chain does not verify: leaf"),
        (lambda a, e: issue(a, e, days=1), "the chain does not verify: cert is not valid"),
        (
            lambda a, e: issue(Authority("CA of the test", now=BEGAN), e),
            "the chain does not verify",
        ),
        (lambda a, e: a.pem.encode(), "the chain does not verify"),
        (lambda a, e: b"", "what came is no chain"),
        (lambda a, e: b"<html>", "what came is no chain"),
    ],
    ids=["key", "more names", "fewer names", "expired", "another CA", "the CA", "empty", "HTML"],
)
def test_another_one(
    authority: Authority, make: Callable[[Authority, Enrolment], bytes], fault: str
) -> None:
    enrolment = new_enrolment(NAMES)
    found = Trust(authority.pem.encode()).fault(make(authority, enrolment), enrolment)
    assert found is not None
    assert found.startswith(fault)


def test_a_leaf_alone_says_nothing_of_its_ca(authority: Authority) -> None:
    leaf = leaf_of(issue(authority, new_enrolment(NAMES)))
    with pytest.raises(ValueError, match="without the CA that signed it"):
        Trust.first_seen(leaf)


def test_a_fingerprint_is_of_the_leaf(authority: Authority) -> None:
    chain = issue(authority, new_enrolment(NAMES))
    leaf, _ = x509.load_pem_x509_certificates(chain)
    assert fingerprint(chain) == leaf.fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b""])
def test_a_chain_may_be_written_in_other_ways(authority: Authority, line_end: bytes) -> None:
    """RFC 7468 lets lines end with either, and the last one with nothing."""
    enrolment = new_enrolment(NAMES)
    chain = issue(authority, enrolment)
    if line_end == b"\r\n":
        written = chain.replace(b"\n", line_end)
    else:
        written = chain.rstrip(b"\n") + line_end
    assert Trust.first_seen(written).fault(written, enrolment) is None
    assert fingerprint(written) == fingerprint(chain)


def test_what_is_no_certificate_has_no_fingerprint() -> None:
    for text in (b"", b"PEM", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ValueError):  # noqa: PT011 - Python's own words
            fingerprint(text)


def test_each_machine_has_its_own_keys_and_names() -> None:
    machines = Enrolments(20, lambda number: [f"host-{number}.example.test"])
    assert len(machines) == 20
    assert machines.cost > 0
    everyone = [machines[number] for number in range(20)]
    assert len({machine.key.thumbprint for machine in everyone}) == 20
    assert len({machine.public_key for machine in everyone}) == 20
    request = x509.load_der_x509_csr(machines[7].csr)
    assert request.is_signature_valid
    assert public_der(request.public_key()) == machines[7].public_key
    assert isinstance(request.public_key(), ec.EllipticCurvePublicKey)
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["host-7.example.test"]
    (common_name,) = request.subject
    assert common_name.value == "host-7.example.test"


@pytest.mark.parametrize(
    ("sans", "common_name", "others"),
    [
        ([x509.DNSName("a.example.test")], "a.example.test", False),
        ([x509.DNSName("A.EXAMPLE.test")], "a.Example.test", False),
        ([x509.DNSName("a.example.test")], None, False),
        ([x509.DNSName("a.example.test")], "admin.other.test", True),
        ([x509.DNSName("a.example.test"), x509.IPAddress(IPv4Address("10.0.0.1"))], None, True),
        ([x509.DNSName("a.example.test"), x509.RFC822Name("a@example.test")], None, True),
    ],
)
def test_names_of_any_kind_are_names(
    sans: list[x509.GeneralName], common_name: str | None, others: bool
) -> None:
    enrolment = new_enrolment(["a.example.test"])
    trust, chain = made(enrolment, sans, common_name)
    found = trust.fault(chain, enrolment)
    assert found == ("the certificate has other names beside its own" if others else None)


def test_a_wildcard_is_for_what_is_below_it() -> None:
    enrolment = new_enrolment(["*.example.test"])
    trust, chain = made(enrolment, [x509.DNSName("*.example.test")], None)
    assert trust.fault(chain, enrolment) is None


def test_a_certificate_is_held_to_the_moment_at_which_it_came(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment = new_enrolment(NAMES)
    chain = issue(authority, enrolment, days=1)
    issued = Issued()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: (BEGAN + timedelta(hours=1)).timestamp())
        issued.add(enrolment, chain)
    assert issued.faults() == {}, "it was meant for a day, and that is over"
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: (BEGAN - timedelta(minutes=1)).timestamp())
        issued.add(enrolment, chain)
    (fault,) = issued.faults()
    assert fault.startswith("the chain does not verify: cert is not valid"), "nobody can use it yet"


def made(
    enrolment: Enrolment, sans: list[x509.GeneralName], common_name: str | None
) -> tuple[Trust, bytes]:
    """A certificate with any names, and the CA that signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of any names")])

    def builder(subject: x509.Name, public: CertificatePublicKeyTypes) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGAN)
            .not_valid_after(NOW + timedelta(days=1))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
        )

    usage = dict.fromkeys(
        [
            "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "encipher_only", "decipher_only",
        ],
        False,
    )  # fmt: skip
    ca = (
        builder(ca_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    subject = x509.Name(
        [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )
    public = load_der_public_key(enrolment.public_key)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    leaf = (
        builder(subject, public)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(sans), critical=not common_name)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = ca.public_bytes(Encoding.PEM)
    return Trust(pem), leaf.public_bytes(Encoding.PEM) + pem
