"""Whether a certificate is the one that was asked for: each way of being another one is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pytest_certload.acme.certificates import Trust, fingerprint, leaf_of
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
